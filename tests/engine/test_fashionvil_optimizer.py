"""Groups of parameters, the schedule, and AdamW of 2021 against a loop over numbers."""

import math

import pytest
import torch

from train.engine.fashionvil_optimizer import OfficialAdamW, parameter_groups, settings_of, warmup_multistep


@pytest.mark.parametrize(
    ("name", "fast", "decays"),
    [
        ("image_encoder.model.1.bias", True, True),
        ("model.image_encoder.encoder.stages.0.layers.0.layer.0.normalization.weight", True, True),
        ("model.bert.embeddings.projection.weight", True, True),
        ("model.bert.embeddings.projection.bias", True, False),
        ("heads.mlm.transform.LayerNorm.weight", True, False),
        ("heads.pac.projection", True, True),
        ("classifier.1.bias", True, False),
        ("contrastive_norm.norm_s", False, True),
        ("model.bert.embeddings.word_embeddings.weight", False, True),
        ("model.bert.encoder.layer.0.output.LayerNorm.weight", False, False),
        ("model.bert.pooler.dense.bias", False, False),
    ],
)
def test_a_name_tells_rate_and_decay(name, fast, decays):
    assert settings_of(name, 0.1, 0.5, 20) == (2.0 if fast else 0.1, 0.5 if decays else 0.0)


def test_groups_hold_every_trained_parameter_once():
    model = torch.nn.ModuleDict({"heads": torch.nn.Linear(2, 3), "pooler": torch.nn.Linear(3, 1)})
    model["pooler"].bias.requires_grad_(False)
    groups = parameter_groups(model.named_parameters(), 1.0, 0.1, 20)
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups] == [(1, 20, 0.1), (1, 20, 0.0), (1, 1, 0.1)]
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model.parameters() if p.requires_grad}


def test_the_schedule_warms_up_and_then_falls_in_steps():
    found = [warmup_multistep(step, lr_steps=(6, 9), warmup=4) for step in range(11)]
    expected = [0.25, 0.4375, 0.625, 0.8125, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert found == pytest.approx(expected)
    assert [warmup_multistep(step, (2,)) for step in range(4)] == pytest.approx([1, 1, 0.1, 0.1])
    # A step inside the warm-up counts once the warm-up is over.
    assert [warmup_multistep(step, (1,), warmup=2) for step in range(4)] == pytest.approx([0.25, 0.625, 1, 0.1])


def test_official_adamw_against_a_loop():
    start, gradients = [0.3, -2.0], [[0.5, 1e-9], [-0.2, 2e-9], [0.1, 1e-9]]
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = OfficialAdamW([parameter], lr=0.01, weight_decay=0.1)
    values, first, second = list(start), [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        for i, g in enumerate(gradient):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            size = 0.01 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            values[i] -= size * first[i] / (math.sqrt(second[i]) + 1e-8)
            values[i] -= 0.01 * 0.1 * values[i]
        assert parameter.tolist() == pytest.approx(values, rel=1e-12)


def test_official_adamw_agrees_with_torchs_but_for_tiny_gradients():
    def trained(kind, scale):
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = kind([parameter], lr=1e-3)
        for step in range(20):
            parameter.grad = scale * torch.tensor([1.0, -1.0, math.sin(step)])
            optimizer.step()
        return parameter.detach()

    def torchs(parameters, lr):
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=0)

    assert torch.allclose(trained(OfficialAdamW, 1.0), trained(torchs, 1.0), atol=1e-6)
    assert not torch.allclose(trained(OfficialAdamW, 1e-8), trained(torchs, 1e-8), atol=1e-3)


def test_a_parameter_without_gradient_stays_and_one_with_zeros_moves_on():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = OfficialAdamW([parameter], lr=0.1)
    optimizer.step()
    assert parameter.item() == 1.0
    parameter.grad = torch.ones(1)
    optimizer.step()
    after = parameter.item()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()  # what the original's PyTorch does with heads of other tasks
    assert parameter.item() < after < 1.0
