"""Training steps of the outfit models with the 2017 optimizer against the original's numbers."""

import numpy as np
import torch

from modeling.bilstm.convert_bilstm import to_official_variables
from tests.parity.checks_bilstm_model import batch_of, official_model
from tests.parity.golden import GoldenCase, close
from train.engine.outfit_optimizer import clip_by, gradient_norm, staircase


def check_trajectory(case: GoldenCase) -> None:
    """Losses, learning rates and norms of every step; weights after the first and the last one."""
    d, tolerance = case.json, case.json["tolerances"]
    settings, expected, inputs = d["training_config"], case.group("expected"), case.group("inputs")
    model = official_model(case, recurrent_dropout=0.0).train()
    rate = settings["initial_learning_rate"]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    seen: dict[str, list[float]] = {}
    for step in range(d["steps"]):
        batch = batch_of(inputs, step)
        output = model(**batch)
        if output.text_embeds is not None:
            output.text_embeds.retain_grad()
        output.loss.backward()
        mask = batch.get("attention_mask")
        norm = gradient_norm(model.named_parameters(), output.text_embeds, mask)
        dense = gradient_norm(model.named_parameters())
        values = {
            "total_loss": output.loss,
            "emb_batch_loss": output.vse_loss,
            "f_lstm_loss": output.forward_loss,
            "b_lstm_loss": output.backward_loss,
            "global_norm": norm,
            "dense_global_norm": dense,
            "learning_rate": rate * staircase(step, d["decay_steps"], settings["learning_rate_decay_factor"]),
        }
        for name, value in values.items():
            if value is not None:
                seen.setdefault(name, []).append(float(torch.as_tensor(value).detach()))
        clip_by(model.parameters(), norm, settings["clip_gradients"])
        for group in optimizer.param_groups:
            group["lr"] = values["learning_rate"]
        optimizer.step()
        optimizer.zero_grad()
        if step == 0:
            _close_weights(model, case.group("expected.after_step_1"), tolerance, "after the first step")
    _close_weights(model, case.group("expected.final"), tolerance, "at the end")
    records = {name: value for name, value in expected.items() if not name.startswith(("after_step_1.", "final."))}
    for name, value in records.items():
        close(torch.tensor(seen[name]), value, tolerance, name)
    for name, values in d["records"].items():
        np.testing.assert_allclose(seen[name], values, rtol=tolerance["rtol"], atol=tolerance["atol"], err_msg=name)


def _close_weights(model, expected: dict, tolerance: dict, when: str) -> None:
    ours = to_official_variables(model)
    assert expected and expected.keys() <= ours.keys()
    for name, value in expected.items():
        close(torch.from_numpy(ours[name]), value, tolerance, f"{name} {when}")


CHECKS = {"train_trajectory": check_trajectory}
