"""FashionKLIP's losses: closed forms, a slow write-up of the formulas, edges, and two processes against one."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from train.engine.concept_loss import (
    OFFICIAL,
    ConceptRules,
    caption_loss,
    combined_loss,
    concept_image_loss,
    concept_prototype_loss,
    normalise,
)

BATCH, SLOTS, PROTOTYPES, DIM = 8, 3, 6, 12


def joined_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([[0, 1, 2], [3, -1, 4], [0, 5, -1], [-1, 1, 6], [7, 8, 2], [9, 1, 4], [0, -1, -1], [3, 5, 6]])
    prototypes = normalise(torch.randn(10, PROTOTYPES, DIM, generator=generator))
    prompts = torch.randn(10, DIM, generator=generator)
    return {
        "images": torch.randn(BATCH, DIM, generator=generator),
        "texts": torch.randn(BATCH, DIM, generator=generator),
        "groups": torch.tensor([0, 1, 2, 3, 4, 5, 0, 7]),
        "ids": ids,
        "prototypes": prototypes[ids.clamp(min=0)].masked_fill((ids < 0)[..., None, None], 0.0),
        "prompts": prompts[ids.clamp(min=0)],  # (n, K, D)
    }


def slowly(batch: dict, scale: float, ranks: int) -> float:
    """The default loss with loops over slots, ranks, rows and columns."""
    images, prompts = normalise(batch["images"]), normalise(batch["prompts"])
    ids, slots = batch["ids"], []
    for a in range(SLOTS):
        similarity = torch.einsum("imd,id->im", batch["prototypes"][:, a], images)
        best = similarity.topk(ranks, dim=1)
        g = best.values.clamp(min=0)
        if not g.any():
            continue
        terms, shares = [], []
        for r in range(ranks):
            weight = g[:, r] / g[:, r].norm() if g[:, r].any() else g[:, r]
            rows = batch["prototypes"][torch.arange(BATCH), a, best.indices[:, r]]
            z = scale * rows @ prompts[:, a].T
            total = 0.0
            for way in (z, z.T):
                for i in range(BATCH):
                    columns = [
                        j
                        for j in range(BATCH)
                        if j == i or (ids[i, a] >= 0 and ids[j, a] >= 0 and ids[i, a] != ids[j, a])
                    ]
                    losses = -(way[i, i] - torch.logsumexp(way[i, columns], 0))
                    total += float(weight[i] * losses) / float(weight.sum()) / 2 if weight.any() else 0.0
            terms.append(total)
            shares.append(float(weight.sum()))
        slots.append(sum(t * s for t, s in zip(terms, shares, strict=True)) / sum(shares))
    return sum(slots) / len(slots)


@pytest.mark.parametrize("ranks", [1, 4, 6])
def test_prototype_loss_equals_its_slow_write_up(ranks):
    batch = joined_batch()
    terms = concept_prototype_loss(
        normalise(batch["images"]),
        normalise(batch["prompts"]).transpose(0, 1),
        batch["ids"],
        batch["prototypes"],
        5.0,
        ranks=ranks,
    )
    assert terms.loss.item() == pytest.approx(slowly(batch, 5.0, ranks), rel=1e-5)
    assert terms.active_slots == SLOTS


def test_equal_directions_give_the_logarithm_of_the_batch():
    """All prototypes and prompts alike: every row of logits is constant."""
    one = torch.nn.functional.one_hot(torch.zeros(BATCH, dtype=torch.long), DIM).float()
    terms = concept_prototype_loss(
        one,
        one.expand(SLOTS, -1, -1),
        torch.arange(BATCH * SLOTS).view(BATCH, SLOTS),
        one[:, None, None].expand(-1, SLOTS, PROTOTYPES, -1),
        7.0,
    )
    assert terms.loss.item() == pytest.approx(math.log(BATCH), rel=1e-5)
    assert terms.alpha == pytest.approx(torch.full((SLOTS, 5), 1 / 5))


def test_only_the_text_side_gets_a_gradient_from_prototypes():
    batch = joined_batch()
    images, prompts = (batch[name].clone().requires_grad_() for name in ("images", "prompts"))
    terms = concept_prototype_loss(
        normalise(images), normalise(prompts).transpose(0, 1), batch["ids"], batch["prototypes"], 5.0
    )
    terms.loss.backward()
    assert images.grad is None and prompts.grad.abs().sum() > 0


def test_an_empty_slot_contributes_nothing_and_is_nan_in_the_original():
    batch = joined_batch()
    batch["ids"][:, 1] = -1
    batch["prototypes"][:, 1] = 0
    arguments = (normalise(batch["images"]), normalise(batch["prompts"]).transpose(0, 1), batch["ids"])
    sane = concept_prototype_loss(*arguments, batch["prototypes"], 5.0)
    assert sane.active_slots == 2 and sane.slot_losses[1] == 0
    assert sane.loss.item() == pytest.approx(sane.slot_losses.sum().item() / 2)
    by_slots = concept_prototype_loss(*arguments, batch["prototypes"], 5.0, rules=ConceptRules(average_over="slots"))
    assert by_slots.loss.item() == pytest.approx(sane.loss.item() * 2 / 3)
    official = concept_prototype_loss(*arguments, batch["prototypes"], 5.0, ranks=3, rules=OFFICIAL)
    assert official.loss.isnan()


def test_a_batch_without_concepts_has_loss_and_gradient_zero():
    prompts = torch.randn(SLOTS, BATCH, DIM, requires_grad=True)
    ids = torch.full((BATCH, SLOTS), -1)
    terms = concept_prototype_loss(
        normalise(torch.randn(BATCH, DIM)), normalise(prompts), ids, torch.zeros(BATCH, SLOTS, PROTOTYPES, DIM), 5.0
    )
    terms.loss.backward()
    assert terms.loss == 0 and prompts.grad.eq(0).all() and terms.active_slots == 0


def test_equal_concepts_are_no_wrong_answers_of_each_other():
    batch = joined_batch()
    arguments = (normalise(batch["images"]), normalise(batch["prompts"]).transpose(0, 1), batch["ids"])
    sane = concept_prototype_loss(*arguments, batch["prototypes"], 5.0)
    counted = concept_prototype_loss(*arguments, batch["prototypes"], 5.0, rules=ConceptRules(mask_equal=False))
    assert counted.loss > sane.loss  # one more wrong answer that is exactly as near as the right one


def test_shapes_that_do_not_fit_are_refused():
    batch = joined_batch()
    images, prompts = normalise(batch["images"]), normalise(batch["prompts"]).transpose(0, 1)
    with pytest.raises(ValueError, match="don't fit"):
        concept_prototype_loss(images[:4], prompts, batch["ids"], batch["prototypes"], 5.0)
    with pytest.raises(ValueError, match="concept_ids"):
        concept_prototype_loss(images, prompts, batch["ids"][:, :2], batch["prototypes"], 5.0)
    with pytest.raises(ValueError, match="as many slots as ranks"):
        concept_prototype_loss(images, prompts, batch["ids"], batch["prototypes"], 5.0, ranks=2, rules=OFFICIAL)
    with pytest.raises(ValueError, match="groups"):
        caption_loss(images, images, torch.tensor(1.0), batch["groups"], official_gather=True)


def test_image_loss_equals_a_loop_over_concepts_and_images():
    batch = joined_batch()
    images, ids = normalise(batch["images"]), torch.tensor([4, 0, 1])
    prompts = normalise(torch.randn(3, DIM, generator=torch.Generator().manual_seed(5)))
    loss = concept_image_loss(images, prompts, ids, batch["ids"], 6.0)
    z = 6.0 * prompts @ images.T
    owns = torch.tensor([[(row == concept).any().item() for row in batch["ids"]] for concept in ids])

    def one_way(logits, positive):
        rows = []
        for i in range(len(logits)):
            wrong = logits[i][~positive[i]]
            terms = [torch.logsumexp(torch.cat([x[None], wrong]), 0) - x for x in logits[i][positive[i]]]
            if terms:
                rows.append(torch.stack(terms).mean())
        return torch.stack(rows).mean()

    assert loss.item() == pytest.approx(((one_way(z, owns) + one_way(z.T, owns.T)) / 2).item(), rel=1e-5)


def test_equal_captions_are_right_answers_of_one_another_unless_the_original_is_asked_for():
    images, texts = normalise(torch.randn(4, DIM)), normalise(torch.randn(4, DIM))
    alone, together = torch.arange(4), torch.tensor([0, 1, 0, 3])
    scale = torch.tensor(10.0)
    official = caption_loss(images, texts, scale, None)
    logits = 10 * texts @ images.T
    labels = torch.arange(4)
    both = nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)
    assert official.item() == pytest.approx(both.item() / 2, rel=1e-5)
    assert caption_loss(images, texts, scale, alone).item() == pytest.approx(official.item(), rel=1e-5)
    assert caption_loss(images, texts, scale, together).item() != pytest.approx(official.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("caption", "concept", "weight", "official", "expected", "share"),
    [
        (1.0, 2.0, None, False, 0.9 * 1.0 + 0.1 * 2.0, 0.1),
        (1.0, 0.1, None, False, 0.1, 1.0),  # cut at 1
        (1.0, 0.1, None, True, -1.0 * 1.0 + 2.0 * 0.1, 2.0),
        (1.0, 0.0, None, False, 1.0, 0.0),
        (1.0, 2.0, 0.25, False, 1.5, 0.25),
    ],
)
def test_both_losses_are_balanced_or_weighted(caption, concept, weight, official, expected, share):
    caption, concept = torch.tensor(caption, requires_grad=True), torch.tensor(concept, requires_grad=True)
    loss, used = combined_loss(caption, concept, weight, official_lambda=official)
    assert loss.item() == pytest.approx(expected) and float(used) == pytest.approx(share)
    loss.backward()
    assert caption.grad.item() == pytest.approx(1.0 if weight is not None else 1 - share)  # the balance is a constant


class Towers(nn.Module):
    """Image, text and scale, reached through `forward` as DDP needs it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(DIM, 6), nn.Linear(DIM, 6)
        self.log_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, batch):
        images, texts, prompts = self.image(batch["images"]), self.text(batch["texts"]), self.text(batch["prompts"])
        return normalise(images), normalise(texts), normalise(prompts), self.log_scale.exp()


def total_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Captions, prototypes and live images in one number."""
    images, texts, prompts, scale = model(batch)
    generator = torch.Generator().manual_seed(9)
    prototypes = normalise(torch.randn(10, PROTOTYPES, 6, generator=generator))[batch["ids"].clamp(min=0)]
    prototypes = prototypes.masked_fill((batch["ids"] < 0)[..., None, None], 0.0)
    terms = concept_prototype_loss(images, prompts.transpose(0, 1), batch["ids"], prototypes, scale)
    caption = caption_loss(images, texts, scale, batch["groups"])
    numbers, place = batch["ids"].flatten().unique(return_inverse=True)
    first = torch.stack([(place == k).nonzero()[0, 0] for k in range(len(numbers))])
    live = concept_image_loss(images, prompts.flatten(0, 1)[first], numbers, batch["ids"], 4.0)
    loss, _ = combined_loss(caption, terms.loss, None)
    return loss + 0.5 * live


def work(folder: Path) -> None:
    accelerator = accelerator_of(2)
    rank, rows = accelerator.process_index, BATCH // 2
    model = accelerator.prepare(Towers())
    own = {name: value[rank * rows : (rank + 1) * rows] for name, value in joined_batch().items()}
    loss = total_of(model, own)
    accelerator.backward(loss)
    gradients = {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}
    save(accelerator, folder, {"loss": accelerator.reduce(loss.detach(), "mean"), "gradients": gradients})


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    model = Towers()
    loss = total_of(model, joined_batch())
    loss.backward()
    for result in run_workers(__file__, tmp_path):
        assert relative_difference(result["loss"], loss.detach()) < 1e-6
        for name, parameter in model.named_parameters():
            assert relative_difference(result["gradients"][name], parameter.grad) < 1e-5, name


if __name__ == "__main__":
    work(Path(sys.argv[1]))
