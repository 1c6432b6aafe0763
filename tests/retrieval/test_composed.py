"""Protocols of composed retrieval: hand-typed galleries, chance against simulation, and what is refused."""

import numpy as np
import pytest
import torch

from train.retrieval.composed import (
    MODEL,
    PROTOCOLS,
    ComposedSet,
    chance_of_hit,
    compare_ranks,
    evaluate_protocol,
    find_protocol,
    protocol_figures,
    system_queries,
)

ORIGINAL, VAL = "fashioniq/original-split", "fashioniq/val-split"
POOLED, TITLES = "composed/pooled-noref", "catalogue/same-title"


def on_circle(degrees):
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def made_up_set(queries=40, images=60, seed=0, **changes):
    """Random queries over two categories that share no image; every protocol can be asked."""
    generator = torch.Generator().manual_seed(seed)
    half = images // 2
    categories = ["a"] * (queries // 2) + ["b"] * (queries - queries // 2)
    base = torch.tensor([0 if c == "a" else half for c in categories])
    reference = base + torch.randint(0, half, (queries,), generator=generator)
    target = base + (reference - base + torch.randint(1, half, (queries,), generator=generator)) % half
    others = [[r for r in range(images) if r not in (int(a), int(b))] for a, b in zip(reference, target, strict=True)]
    members = [
        [int(a), int(b), *(o[i] for i in torch.randperm(len(o), generator=generator)[:4])]
        for a, b, o in zip(reference, target, others, strict=True)
    ]
    halves = {"a": torch.arange(half), "b": torch.arange(half, images)}
    single = [[int(t)] for t in target]
    fields = {
        "gallery_ids": [f"i{i}" for i in range(images)],
        "galleries": {
            ORIGINAL: halves,
            "cirr/val": {"all": torch.arange(images)},
            POOLED: {"all": torch.arange(images)},
        },
        "query_ids": [f"q{i}" for i in range(queries)],
        "captions": ["text"] * queries,
        "reference": reference,
        "positives": {ORIGINAL: single, "cirr/val": single, POOLED: single},
        "categories": categories,
        "members": torch.tensor(members),
        "fingerprint": {"digest": "d1"},
    }
    return ComposedSet(**fields | changes)


def random_systems(data, dim=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(data.gallery_ids), dim, generator=generator)
    texts = torch.randn(len(data.query_ids), dim, generator=generator)
    sharper = images[[p[0] for p in data.positives[POOLED]]]

    def compose(i, t):
        return torch.nn.functional.normalize(sharper + i + t, dim=-1)

    return images, system_queries(images, texts, data.reference, compose)


def test_fashioniq_keeps_the_reference_and_ranks_inside_the_category():
    # Query at 0 degrees. Category a: reference 0, distractors 10 and 20, target 30; category b lies nearer still.
    gallery = on_circle([0, 10, 20, 30, 1, 2, 3])
    data = ComposedSet(
        gallery_ids=list("abcdefg"),
        galleries={ORIGINAL: {"a": torch.arange(4), "b": torch.arange(4, 7)}, POOLED: {"all": torch.arange(7)}},
        query_ids=["q"],
        captions=[""],
        reference=torch.tensor([0]),
        positives={ORIGINAL: [[3]], POOLED: [[3]]},
        categories=["a"],
    )
    queries = {MODEL: on_circle([0])}
    result = evaluate_protocol(ORIGINAL, data, gallery, queries, resamples=100)
    assert result.records[MODEL].ranks.tolist() == [3]
    # Pooled over both categories, without the reference: two of a and three of b are nearer.
    result = evaluate_protocol(POOLED, data, gallery, queries, resamples=100)
    assert result.records[MODEL].ranks.tolist() == [5]
    assert result.headline() == {"recall_at1": 0.0, "recall_at5": 0.0, "recall_at10": 100.0, "recall_at50": 100.0}


def test_cirr_removes_the_reference_from_gallery_and_group():
    gallery = on_circle([0, 10, 20, 30, 40, 50, 60, 5])
    data = ComposedSet(
        gallery_ids=list("abcdefgh"),
        galleries={"cirr/val": {"all": torch.arange(8)}},
        query_ids=["q"],
        captions=[""],
        reference=torch.tensor([0]),
        positives={"cirr/val": [[2]]},
        categories=["all"],
        members=torch.tensor([[0, 2, 3, 4, 5, 1]]),
    )
    result = evaluate_protocol("cirr/val", data, gallery, {MODEL: on_circle([0])}, resamples=100)
    record = result.records[MODEL]
    assert record.ranks.tolist() == [2]  # h and b are nearer, the reference does not count
    assert record.group_ranks.tolist() == [1]  # of its group only b is
    assert result.headline()["recall_at5"] == 100.0
    assert result.headline()["group_recall_at1"] == 0.0
    assert result.headline()["mean(R@5+R_s@1)"] == 50.0
    # Deviation from the original, which stops here with an error.
    assert result.headline()["geometric_mean"] == result.headline()["harmonic_mean"] == 0.0


def test_any_photo_with_the_title_counts_under_same_title():
    gallery = on_circle([0, 10, 20, 30])
    data = ComposedSet(
        gallery_ids=list("abcd"),
        galleries={POOLED: {"all": torch.arange(4)}, TITLES: {"all": torch.arange(4)}},
        query_ids=["q"],
        captions=[""],
        reference=torch.tensor([0]),
        positives={POOLED: [[3]], TITLES: [[3, 1]]},
        categories=["all"],
    )
    ranks = {
        name: evaluate_protocol(name, data, gallery, {MODEL: on_circle([0])}, resamples=100).records[MODEL].ranks[0]
        for name in (POOLED, TITLES)
    }
    assert ranks == {POOLED: 2, TITLES: 0}


@pytest.mark.parametrize("name", [ORIGINAL, "cirr/val", POOLED])
def test_every_system_has_intervals_and_the_model_a_difference_from_each_control(name):
    data = made_up_set()
    images, queries = random_systems(data)
    result = evaluate_protocol(name, data, images, queries, resamples=500)
    assert set(result.controls) == set(result.differences) == {"image_only", "text_only", "sum"}
    for metric, figure in result.figures.items():
        assert figure.low <= figure.value <= figure.high
        for control, differences in result.differences.items():
            expected = figure.value - result.controls[control][metric].value
            assert differences[metric].value == pytest.approx(expected)
    figures = protocol_figures(name, data, images, queries)
    assert figures[MODEL] == pytest.approx({n: f.value for n, f in result.figures.items()})
    content = result.to_dict()
    assert content["controls"]["chance"].keys() == content["figures"].keys()
    assert content["definition"]["reference_image"].startswith("kept" if name == ORIGINAL else "removed")


def test_the_image_only_control_finds_the_reference_first_only_where_it_is_kept():
    data = made_up_set()
    images, queries = random_systems(data)
    to_itself = dict(data.positives) | {ORIGINAL: [[int(r)] for r in data.reference]}
    kept = evaluate_protocol(ORIGINAL, made_up_set(positives=to_itself), images, queries, resamples=100)
    assert kept.records["image_only"].ranks.max() == 0


@pytest.mark.parametrize("name", [ORIGINAL, "cirr/val", POOLED])
def test_chance_is_the_mean_of_random_rankings(name):
    data = made_up_set(queries=60, images=60)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 4, generator=generator)
    totals: dict[str, list[float]] = {}
    for _ in range(60):
        noise = {MODEL: torch.randn(60, 32, generator=generator)}
        images = torch.randn(60, 32, generator=generator)
        for metric, value in protocol_figures(name, data, images, noise)[MODEL].items():
            totals.setdefault(metric, []).append(value)
    result = evaluate_protocol(name, data, images, noise, resamples=100)
    for metric, value in result.chance.items():
        if metric in (
            "harmonic_mean",
            "geometric_mean",
        ):  # not means of hits; chance takes them of the expected recalls
            continue
        assert np.mean(totals[metric]) == pytest.approx(value, abs=5 * np.std(totals[metric]) / 60**0.5 + 1e-6)


def test_chance_with_several_right_answers_is_hypergeometric():
    gallery, right = np.array([10, 10, 4, 1]), np.array([1, 3, 4, 1])
    assert chance_of_hit(gallery, right, 1) == pytest.approx([0.1, 0.3, 1.0, 1.0])
    # 1 - C(7,2)/C(10,2) = 1 - 21/45
    assert chance_of_hit(gallery, right, 2) == pytest.approx([0.2, 1 - 21 / 45, 1.0, 1.0])
    assert chance_of_hit(gallery, right, 50) == pytest.approx([1.0] * 4)


def test_runs_of_one_protocol_and_data_are_compared_by_query():
    data = made_up_set()
    images, queries = random_systems(data)
    records = evaluate_protocol(POOLED, data, images, queries, resamples=100).records
    difference = compare_ranks(records[MODEL], records["text_only"])
    assert difference["recall_at10"].value > 20
    assert difference["recall_at10"].p < 0.01
    assert compare_ranks(records[MODEL], records[MODEL])["recall_at10"].p == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "cirr/val"}, "different protocols cannot be compared"),
        ({"data": "d2"}, "different annotation files"),
        ({"query_ids": np.array(["x"] * 40)}, "different queries"),
        ({"query_ids": np.array(["q0"])}, "different queries"),
        ({"categories": np.array(["b"] * 40)}, "different queries"),
    ],
)
def test_figures_of_different_protocols_data_or_queries_are_never_compared(change, message):
    import dataclasses

    data = made_up_set()
    images, queries = random_systems(data)
    record = evaluate_protocol(POOLED, data, images, {MODEL: queries[MODEL]}, resamples=100).records[MODEL]
    with pytest.raises(ValueError, match=message):
        compare_ranks(record, dataclasses.replace(record, **change))


def test_every_protocol_states_its_rules():
    for name, protocol in PROTOCOLS.items():
        assert name == protocol.name
        assert all(protocol.definition().values())
        assert protocol.reference_removed != name.startswith("fashioniq/")
    with pytest.raises(ValueError, match="unknown protocol 'fashioniq/val'; one of fashioniq/original-split"):
        find_protocol("fashioniq/val")


def test_answers_outside_their_gallery_are_named():
    data = made_up_set()
    images, queries = random_systems(data)
    swapped = {ORIGINAL: {"a": data.galleries[ORIGINAL]["b"], "b": data.galleries[ORIGINAL]["a"]}}
    with pytest.raises(ValueError, match="20 queries have their target outside the gallery of a, first: q0"):
        evaluate_protocol(ORIGINAL, made_up_set(galleries=swapped), images, queries)
    unused = [r for r in range(30) if r not in set(data.reference.tolist())]
    held = torch.tensor([r for r in range(30) if r != int(data.reference[0])])
    galleries = {ORIGINAL: {"a": held, "b": torch.arange(30, 60)}}
    everything = {ORIGINAL: [[unused[0]]] * 20 + data.positives[ORIGINAL][20:]}
    with pytest.raises(ValueError, match="reference outside the gallery of a"):
        evaluate_protocol(ORIGINAL, made_up_set(galleries=galleries, positives=everything), images, queries)
    with pytest.raises(ValueError, match="no gallery for categories b"):
        evaluate_protocol(ORIGINAL, made_up_set(galleries={ORIGINAL: {"a": torch.arange(60)}}), images, queries)


def test_a_set_that_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="twice in the gallery"):
        made_up_set(gallery_ids=["x"] * 60)
    with pytest.raises(ValueError, match="same id"):
        made_up_set(query_ids=["q"] * 40)
    with pytest.raises(ValueError, match="39 captions"):
        made_up_set(captions=[""] * 39)
    data = made_up_set()
    images, queries = random_systems(data)
    with pytest.raises(ValueError, match="not catalogue/same-title"):
        evaluate_protocol(TITLES, data, images, queries)
    with pytest.raises(ValueError, match="59 feature rows"):
        evaluate_protocol(POOLED, data, images[:59], queries)
    with pytest.raises(ValueError, match="image_only: 40 queries but 3 feature rows"):
        evaluate_protocol(POOLED, data, images, queries | {"image_only": queries["image_only"][:3]})
