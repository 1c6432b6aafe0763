"""Golden training trajectories of CLIP4Cir, replayed through the programs' own loss, optimizer and step.

A case holds, for one or several runs, what stood in every batch, the loss of every step and the weights at the end.
"""

import numpy as np
import torch

from modeling.clip4cir import CLIP4CirConfig, CLIP4CirModel
from modeling.clip4cir.convert_clip4cir import model_from_official, to_model_keys
from train import clip4cir_combiner, clip4cir_finetune
from train.engine.cached_gradients import cached_step, split_batch
from train.engine.clip4cir import choose_encoder

COMBINER_MASKS = {
    "dropout1": "dropout1",
    "dropout2": "dropout2",
    "dropout3": "dropout3",
    "dynamic_scalar.2": "dynamic_scalar.2",
}


def weights_of(case, prefix):
    return {name.removeprefix(prefix): case.tensors[name] for name in case.tensors if name.startswith(prefix)}


def check_losses(case, losses, expected):
    first = case.json["tolerance"].get("first_4_steps", case.json["tolerance"])
    np.testing.assert_allclose(losses[:4], expected[:4], rtol=first["loss_rtol"], atol=first["loss_atol"])
    whole = case.json["tolerance"]
    np.testing.assert_allclose(losses, expected, rtol=whole["loss_rtol"], atol=whole["loss_atol"])


def check_stage1(case):
    """Every run of the case: features and gradients of step 0, all losses, all final weights."""
    runs = [name for name, run in case.json["runs"].items() if "loss" in run]
    assert runs
    for encoder in runs:
        check_stage1_run(case, encoder)


def check_stage1_run(case, encoder):
    run, settings = case.json["runs"][encoder], case.json["hyper_parameters"]
    official = weights_of(case, "weights.")
    model = model_from_official(official)
    choose_encoder(model, encoder)
    arguments = clip4cir_finetune.FineTuneArguments(
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        adam_epsilon=settings["eps"],
        logit_scale=settings["loss_scale"],
        encoder=encoder,
        official_false_negatives=True,
    )
    optimizer = clip4cir_finetune.make_optimizer(model, arguments)
    model.train()  # batch norm keeps its statistics: that is the model's own rule, and checked below
    images = case.tensors["inputs.images"]
    references, targets = (case.tensors[f"inputs.{encoder}.{kind}_index"].long() for kind in ("reference", "target"))
    input_ids = case.tensors[f"inputs.{encoder}.input_ids"].long()

    losses = []
    for step in range(len(references)):
        rows = references[step] >= 0
        groups = targets[step][rows]
        batch = {
            "pixel_values": images[references[step][rows]],
            "input_ids": input_ids[step][rows],
            "attention_mask": torch.ones_like(input_ids[step][rows]),
            "target_pixel_values": images[groups],
            "target_group": groups,
            "reference_group": references[step][rows],
        }
        assert len(groups) == run["batch_sizes"][step]
        if step == 0:
            check_step0(case, encoder, model, batch)
        optimizer.zero_grad()
        loss = cached_step(
            model,
            split_batch(batch, len(groups)),
            clip4cir_finetune.embed,
            lambda **embedded: clip4cir_finetune.stage1_loss(arguments, **embedded),
        ).loss
        if step == 0:
            check_gradients(model, official, run["grad_norm_at_step0"])
        optimizer.step()
        losses.append(loss.item())
    check_losses(case, losses, case.tensors[f"expected.{encoder}.loss"].numpy())
    check_final_weights(case, encoder, model, official, run, settings, len(references))


def check_step0(case, encoder, model, batch):
    tolerance = case.json["tolerance"]["step0_features"]
    with torch.no_grad():
        found = {
            "reference_features": model.get_image_features(batch["pixel_values"]),
            "text_features": model.get_text_features(batch["input_ids"]),
            "target_features": model.get_image_features(batch["target_pixel_values"]),
        }
    for name, value in found.items():
        torch.testing.assert_close(value, case.tensors[f"expected.{encoder}.step0.{name}"], **tolerance)


def model_tensors(key, official):
    """The model's tensors, by name, that come from one official tensor."""
    # The layout is recognised by `visual.proj`, so it stays beside the tensor in question.
    marker = {n: official[n] for n in ("visual.proj",) if n in official and n != key}
    beside = to_model_keys(marker)
    return {n: t for n, t in to_model_keys({key: official[key], **marker}).items() if n not in beside}


def check_gradients(model, official, norms):
    """Gradient norms under the official names: tensors that are split here are put together again."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for key, expected in norms.items():
        found = [gradients[name] for name in model_tensors(key, official) if name in gradients]
        if expected is None:
            assert not found, f"{key} must get no gradient"
        else:
            norm = sum(g.double().pow(2).sum().item() for g in found) ** 0.5
            np.testing.assert_allclose(norm, expected, rtol=2e-3, atol=2e-4, err_msg=key)


def check_final_weights(case, encoder, model, official, run, settings, steps):
    expected = weights_of(case, f"expected.{encoder}.final.")
    assert expected
    final, start = model.state_dict(), to_model_keys(official)
    tolerance = case.json["tolerance"]["final_weights"]
    for key, value in expected.items():
        if key.endswith(".last_row"):  # checked below, to a tighter tolerance
            continue
        for name, part in model_tensors(key, {**official, key: value}).items():
            difference = (final[name] - part).abs().double()
            assert difference.max() <= tolerance["max_atol"], name
            assert difference.mean() <= tolerance["mean_abs"], name
    for key in run["final_weights_unchanged"]:
        for name in model_tensors(key, official):
            assert torch.equal(final[name], start[name]), f"{name} must not change"
    # The last position gets no gradient: weight decay alone moves it.
    row = "text_model.embeddings.position_embedding.weight"
    decay = 1.0 if encoder == "image" else (1 - settings["learning_rate"] * settings["weight_decay"]) ** steps
    atol = case.json["tolerance"]["positional_embedding_last_row"]["atol"]
    torch.testing.assert_close(final[row][-1], start[row][-1] * decay, atol=atol, rtol=0)


def check_stage2(case):
    """Every run of the case: all losses and the final Combiner, dropout off or with the recorded masks."""
    for name in case.json["runs"]:
        check_stage2_run(case, name)


def check_stage2_run(case, name):
    config, settings = case.json["config"], case.json["hyper_parameters"]
    masks = {
        k: case.tensors[f"inputs.{name}.mask.{k}"] for k in COMBINER_MASKS if f"inputs.{name}.mask.{k}" in case.tensors
    }
    arguments = clip4cir_combiner.CombinerArguments(
        projection_dim=config["projection_dim"],
        hidden_dim=config["hidden_dim"],
        dropout=0.0,  # recorded masks are applied below
        learning_rate=settings["combiner_lr"],
        weight_decay=settings["weight_decay"],
        logit_scale=config["logit_scale"],
        official_false_negatives=True,
    )
    tower = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 64}
    stage1 = CLIP4CirModel(
        CLIP4CirConfig(
            projection_dim=config["clip_feature_dim"],
            vision_config={"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16, **tower},
            text_config={"vocab_size": 8, **tower},
        )
    )
    model = clip4cir_combiner.add_combiner(stage1, arguments)
    model.combiner.load_state_dict(weights_of(case, "weights."))
    optimizer = clip4cir_combiner.make_optimizer(model, arguments)
    features = {k: case.tensors[f"inputs.{name}.{k}_features"] for k in ("reference", "text", "target")}
    step_now = 0
    for mask_name, module_name in COMBINER_MASKS.items():
        if mask_name in masks:
            model.combiner.get_submodule(module_name).register_forward_hook(
                lambda _module, _inputs, output, m=masks[mask_name]: output * m[step_now] / (1 - config["dropout"])
            )
    losses = []
    for step_now in range(len(features["reference"])):
        rows = len(features["reference"][step_now])
        batch = {
            "image_features": features["reference"][step_now],
            "text_features": features["text"][step_now],
            "target_features": features["target"][step_now],
            "target_group": torch.arange(rows),
        }
        optimizer.zero_grad()
        loss = clip4cir_combiner.stage2_loss(model.combiner, arguments, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    check_losses(case, losses, case.tensors[f"expected.{name}.loss"].numpy())
    atol = case.json["tolerance"]["final_weights"]["atol"]
    final = model.combiner.state_dict()
    for key, value in weights_of(case, f"expected.{name}.final.").items():
        torch.testing.assert_close(final[key], value, atol=atol, rtol=0, msg=lambda text, k=key: f"{name} {k}: {text}")


CHECKS = {"stage1_fiq_resnet": check_stage1, "stage1_cirr_vit": check_stage1, "stage1": check_stage1}
CHECKS |= {"stage2_fiq": check_stage2, "stage2_cirr": check_stage2, "stage2": check_stage2}
