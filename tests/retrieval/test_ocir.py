"""Complementary items: ranks inside a category against a sort, the official fill, figures by hand, a model's own ranks."""

import numpy as np
import pytest
import torch

from tests.modeling.fashionvil_examples import tiny_model
from train.retrieval.composed import compare_ranks
from train.retrieval.ocir import (
    OcirSet,
    conditioned_ranks,
    evaluate_ocir,
    evaluate_outfit_model,
    mean_by_outfit,
    ocir_ranks,
)
from train.retrieval.ocir_protocols import OCIR_PROTOCOLS

CLEAN, OFFICIAL = (OCIR_PROTOCOLS[name] for name in ("polyvore-outfits/ocir", "polyvore-outfits/ocir-official"))


def random_set(seed, rows=120, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(60, (rows,), generator=generator).tolist()
    fake = (torch.rand(rows, generator=generator) < 0.4).tolist()
    data = OcirSet(items, [i % 4 for i in items], fake)
    queries, targets = (
        scale * torch.nn.functional.normalize(torch.randn(rows, 6, generator=generator), dim=-1) for _ in range(2)
    )
    return data, queries, targets


def sorted_rank(data, queries, targets, row, fill):
    """Sort the scores of one question; items of other categories are removed, or stand at `fill`."""
    scored = []
    for place in data.gallery:
        same = data.blank_categories[place] == data.blank_categories[row]
        if same or fill is not None:
            score = float(queries[row] @ targets[place]) if same else fill
            scored.append((-score, data.blank_ids[place]))
    return [item for _, item in sorted(scored)].index(data.blank_ids[row])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", [CLEAN, OFFICIAL], ids=lambda p: p.name)
def test_ranks_agree_with_a_sort(seed, protocol):
    data, queries, targets = random_set(seed)
    expected = [sorted_rank(data, queries, targets, row, protocol.fill) for row in data.queries]
    assert ocir_ranks(protocol, data, queries, targets).tolist() == expected


def test_the_fill_matters_only_below_it():
    data, queries, targets = random_set(0, scale=1.0)
    assert np.array_equal(*(ocir_ranks(p, data, queries, targets) for p in (CLEAN, OFFICIAL)))
    worse = ocir_ranks(OFFICIAL, data, 4 * queries, 4 * targets) - ocir_ranks(CLEAN, data, 4 * queries, 4 * targets)
    assert worse.min() == 0 and worse.max() > 0


def test_figures_by_hand():
    # Category 1 has 12 items, in the order of the question; category 2 one.
    items = list(range(13))
    targets = torch.stack([torch.tensor([float(12 - i), 1.0]) for i in items])
    queries = torch.tensor([[1.0, 0.0]]).expand(13, -1)
    fake = [i not in (0, 11, 12) for i in items]
    data = OcirSet(items, [1] * 12 + [2], fake, query_ids=[f"q{i}" for i in items])
    result = evaluate_ocir("polyvore-outfits/ocir", data, queries, targets, resamples=200)
    assert result.records["model"].ranks.tolist() == [0, 11, 0]
    values = {name: figure.value for name, figure in result.figures.items()}
    assert values == pytest.approx(
        {"recall_at10": 75.0, "recall_at30": 100.0, "recall_at50": 100.0, "average_recall": 275 / 3}
    )
    chance = result.chance
    assert chance["recall_at10"] == pytest.approx(100 * (10 / 12 + 1) / 2) and chance["recall_at50"] == 100.0
    assert result.counts["gallery"] == {"1": 12, "2": 1} and result.counts["queries_per_category"] == {"1": 2, "2": 1}
    saved = result.to_dict()
    assert saved["protocol"] == "polyvore-outfits/ocir" and saved["figures"]["recall_at10"]["value"] == 75.0
    assert result.records["model"].query_ids.tolist() == ["q0", "q11", "q12"]


def test_an_item_stands_in_the_gallery_once_with_the_feature_of_its_first_row():
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    data = OcirSet(["x", "y", "x"], [1, 1, 1], [True, False, True])
    assert data.gallery == [0, 1]
    queries = torch.tensor([[0.0, 0.0], [1.5, 2.0], [0.0, 0.0]])
    assert ocir_ranks(CLEAN, data, queries, targets).tolist() == [0]  # the third row's feature would win


def test_two_runs_are_compared_query_by_query():
    data, queries, targets = random_set(1)
    first, second = (
        evaluate_ocir(CLEAN.name, data, q, targets, resamples=200).records["model"] for q in (queries, -queries)
    )
    difference = compare_ranks(first, second, resamples=200)
    assert set(difference) == {"recall_at10", "recall_at30", "recall_at50", "average_recall"}
    official = evaluate_ocir(OFFICIAL.name, data, queries, targets, resamples=200).records["model"]
    with pytest.raises(ValueError, match="different protocols"):
        compare_ranks(first, official)


def test_an_outfits_query_is_the_mean_of_its_items():
    features = torch.arange(10.0).reshape(5, 2)
    assert mean_by_outfit(features, [1, 3, 1]).tolist() == [[0, 1], [4, 5], [8, 9]]
    for lengths in ([1, 3], [0, 4, 1]):
        with pytest.raises(ValueError, match="none empty, expected; got 5 features"):
            mean_by_outfit(features, lengths)


def test_sets_that_cannot_be_asked_are_refused():
    with pytest.raises(ValueError, match="no row asks anything"):
        OcirSet(["a"], [1], [True])
    with pytest.raises(ValueError, match="item a has two categories, in rows 0 and 1"):
        OcirSet(["a", "a"], [1, 2], [False, True])
    with pytest.raises(ValueError, match="2 blank items, but other numbers"):
        OcirSet(["a", "b"], [1], [False, True])
    with pytest.raises(ValueError, match="2 rows, but features of 1 queries and 2 items"):
        ocir_ranks(CLEAN, OcirSet(["a", "b"], [1, 1], [False, True]), torch.ones(1, 2), torch.ones(2, 2))


def outfit_set(seed, rows=60):
    """Questions of one to four items of 30, in four categories."""
    rng = np.random.default_rng(seed)
    items = [f"i{n}" for n in range(30)]
    categories = {item: n % 4 for n, item in enumerate(items)}
    blanks = rng.choice(items, rows).tolist()
    questions = [rng.choice(items, rng.integers(1, 5), replace=False).tolist() for _ in range(rows)]
    fake = (rng.random(rows) < 0.4).tolist()
    numbers = [categories[item] for item in blanks]
    return OcirSet(blanks, numbers, fake, questions=questions, categories=categories), items


def outfit_model(scale, **changes):
    """A tiny outfit head whose scores spread over a large part of -s * s to s * s."""
    torch.manual_seed(2)
    model = tiny_model("FashionViLForOutfitRetrieval", norm_scale_init_value=scale, **changes)
    with torch.no_grad():
        model.fusion_module.masks.weight.mul_(torch.randn(3, 12))
        model.fusion_module.weight_classifier[2].weight.mul_(20)
    return model


@pytest.mark.parametrize("protocol", [CLEAN, OFFICIAL], ids=lambda p: p.name)
@pytest.mark.parametrize("official_target", [False, True])
def test_a_models_ranks_agree_with_its_own_scores(protocol, official_target):
    model = outfit_model(2.0, official_outfit_target=official_target)
    data, items = outfit_set(3)
    features = torch.randn(30, 12, generator=torch.Generator().manual_seed(1))
    of = {item: features[n] for n, item in enumerate(items)}
    expected, filled = [], 0
    for row in data.queries:
        places = [place for place in data.gallery if data.blank_categories[place] == data.blank_categories[row]]
        asked = torch.stack([of[item] for item in data.questions[row]])
        kinds = torch.tensor([data.categories[item] for item in data.questions[row]])
        with torch.no_grad():
            scores = model.score_candidates(
                asked,
                kinds,
                torch.stack([of[data.blank_ids[place]] for place in places]),
                torch.tensor([data.blank_categories[place] for place in places]),
            )
        own = [data.blank_ids[place] for place in places].index(data.blank_ids[row])
        rank = int((scores > scores[own]).sum())
        if protocol.fill is not None and scores[own] < protocol.fill:
            filled += 1
            rank += len(data.gallery) - len(places)
        expected.append(rank)
    assert conditioned_ranks(protocol, model, data, features, items).tolist() == expected
    assert (filled > 0) == (protocol.fill is not None)  # the rule was needed


def test_a_model_whose_scores_are_no_numbers_is_refused():
    model = outfit_model(2.0)
    model.norm_layer.norm_s.data.fill_(float("nan"))
    data, items = outfit_set(3)
    with pytest.raises(ValueError, match="scores hold NaN or infinity"):
        conditioned_ranks(CLEAN, model, data, torch.randn(30, 12), items)


def test_without_subspaces_on_the_targets_both_ways_to_the_figures_agree():
    model = outfit_model(4.0, official_outfit_target=True)
    data, items = outfit_set(5)
    features = torch.randn(30, 12, generator=torch.Generator().manual_seed(2))
    of = {item: features[n] for n, item in enumerate(items)}
    pairs = [(data.categories[i], data.blank_categories[r]) for r, q in enumerate(data.questions) for i in q]
    with torch.no_grad():
        rows = torch.stack([of[item] for question in data.questions for item in question])
        queries = mean_by_outfit(model.item_embeds(rows, torch.tensor(pairs)), [len(q) for q in data.questions])
        targets = model.norm_layer(torch.stack([of[item] for item in data.blank_ids]))
    for protocol in (CLEAN, OFFICIAL):
        plain = evaluate_ocir(protocol.name, data, queries, targets, resamples=200)
        result = evaluate_outfit_model(protocol.name, data, model, features, items, resamples=200)
        assert result.figures == plain.figures and result.chance == plain.chance and result.counts == plain.counts
        assert set(result.controls) == set(result.differences) == {"image_only"} and plain.controls == {}
        difference = result.differences["image_only"]["average_recall"].value
        own, other = (figures["average_recall"].value for figures in (result.figures, result.controls["image_only"]))
        assert difference == pytest.approx(own - other)
