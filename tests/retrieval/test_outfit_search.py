"""The beam search over outfits against brute force: its greedy and its exhaustive ends, its rules, its blocks."""

from itertools import permutations

import pytest
import torch

from modeling.bilstm import BiLSTMConfig, BiLSTMModel
from train.retrieval import outfit_search
from train.retrieval.outfit_search import (
    SearchOptions,
    distinct,
    rank_for_blank,
    search_outfits,
    text_nearness,
)

NEVER = 2.0  # no probability of the end reaches it


@pytest.fixture
def model():
    torch.manual_seed(1)
    config = BiLSTMConfig(vision_feature_dim=3, embedding_dim=6, hidden_size=5, vocab_size=9)
    model = BiLSTMModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "cell" in name or "head" in name or "word" in name:
                parameter.normal_(std=0.8)
    return model


@pytest.fixture
def items():
    return 1.5 * torch.randn(14, 6, generator=torch.Generator().manual_seed(2))


def value(model, items, outfit, bank=None):
    rows = items if bank is None else items[bank]
    scores = model.score_outfits(items[list(outfit)][None], torch.tensor([len(outfit)]), rows)
    return float(scores["forward"] + scores["backward"])


def end_probabilities(model, items, outfit):
    """Of an outfit's left and right end."""
    found = []
    for direction in ("backward", "forward"):
        predictions = model.read(items[list(outfit)][None], torch.tensor([len(outfit)]), direction)[1][0, -1].detach()
        found.append(float(torch.cat([predictions @ items.T, torch.zeros(1)]).softmax(0)[-1]))
    return found


def test_a_beam_of_one_that_tries_every_item_is_the_greedy_search(model, items):
    options = SearchOptions(max_items=5, beam=1, candidates=len(items), end_probability=NEVER)
    for start in range(6):
        greedy = (start,)
        while len(greedy) < 5:
            grown = [
                (*greedy[:gap], item, *greedy[gap:])
                for gap in range(len(greedy) + 1)
                for item in range(len(items))
                if item not in greedy
            ]
            greedy = max(grown, key=lambda outfit: value(model, items, outfit))
        (found,) = search_outfits(model, items, [start], options=options)
        assert tuple(found.places) == greedy and found.stopped == "max_items"
        assert found.score == pytest.approx(value(model, items, greedy), abs=1e-5)


def test_a_beam_that_keeps_everything_finds_the_best_outfit_of_all(model, items):
    items = items[:7]
    options = SearchOptions(max_items=4, beam=10_000, candidates=7, end_probability=NEVER)
    narrow = SearchOptions(max_items=4, beam=1, candidates=1, end_probability=NEVER)
    gained = 0
    for query in ([0], [3, 1], [6, 2, 4]):
        outfits = [o for o in permutations(range(7), 4) if set(query) <= set(o)]
        best = max(outfits, key=lambda outfit: value(model, items, outfit))
        (found,) = search_outfits(model, items, query, options=options)
        assert tuple(found.places) == best
        gained += found.score > search_outfits(model, items, query, options=narrow)[0].score + 1e-6
    assert gained  # else the beam would be of no use here


def test_no_product_comes_twice_and_no_slot_has_two_items(model, items):
    # Five products with near copies beside them, which follow each other gladly.
    items = torch.cat([items[:5]] * 3)
    identities = [0, 1, 2, 3, 4] * 3
    slots = [0, 1, 2, 0, -1] * 3
    options = SearchOptions(max_items=5, end_probability=NEVER)
    free = search_outfits(model, items, [0], options=options)[0].places
    assert len({identities[place] for place in free}) < 5
    (once,) = search_outfits(model, items, [5], identities=identities, options=options)
    assert sorted(identities[place] for place in once.places) == [0, 1, 2, 3, 4]
    assert 5 in once.places and all(place < 5 for place in once.places if place != 5)  # the bank has each product once
    (ruled,) = search_outfits(model, items, [0], identities=identities, slots=slots, options=options)
    assert sorted(slots[place] for place in ruled.places) == [-1, 0, 1, 2] and ruled.stopped == "no candidates"
    # Items without slot are no rule for each other, and the query's own may share one.
    assert len(search_outfits(model, items, [0], slots=[-1] * 15, options=options)[0].places) == 5
    (shared,) = search_outfits(model, items, [0, 3], identities=identities, slots=slots, options=options)
    assert sorted(slots[place] for place in shared.places) == [-1, 0, 0, 1, 2]


def test_only_allowed_items_are_added(model, items):
    options = SearchOptions(max_items=5, end_probability=NEVER)
    allowed = [place in (2, 9, 11) for place in range(len(items))]
    (found,) = search_outfits(model, items, [5], allowed=allowed, options=options)
    assert set(found.places) == {5, 2, 9, 11} and found.stopped == "no candidates"
    (alone,) = search_outfits(model, items, [5], allowed=[False] * len(items), options=options)
    assert alone.places == [5] and alone.stopped == "no candidates"


def test_the_order_of_the_query_changes_nothing_and_the_best_one_is_taken(model, items):
    options = SearchOptions(max_items=6, end_probability=NEVER)
    found = [search_outfits(model, items, query, options=options)[0] for query in permutations([8, 1, 12])]
    assert all(other == found[0] for other in found)
    (placed,) = search_outfits(model, items, [8, 1, 12, 4], options=SearchOptions(max_items=4, end_probability=NEVER))
    assert tuple(placed.places) == max(permutations([8, 1, 12, 4]), key=lambda outfit: value(model, items, outfit))
    assert placed.places != sorted(placed.places)


def test_many_query_items_are_all_placed(model, items, monkeypatch):
    """More orders than are kept: a part of them is, the same for every order of the query."""
    monkeypatch.setattr(outfit_search, "ORDERS", 3)
    query = [0, 2, 3, 5, 7, 8, 11, 13]
    options = SearchOptions(end_probability=NEVER, block=2)
    (found,) = search_outfits(model, items, query, options=options)
    assert sorted(found.places) == query and found.places != query
    for turned in (query[::-1], query[4:] + query[:4], query[::2] + query[1::2]):
        assert search_outfits(model, items, turned, options=options)[0] == found


@pytest.mark.parametrize("block", [1, 3, 13])
def test_blocks_change_nothing(model, items, block):
    identities = [0, 0, *range(2, 14)]
    nearness = torch.linspace(-1, 1, 14)
    results = []
    for size in (4096, block):
        options = SearchOptions(max_items=5, beam=3, candidates=4, end_probability=NEVER, block=size)
        results.append(
            search_outfits(model, items, [6], identities=identities, nearness=nearness, options=options, outfits=3)
        )
    whole, parts = results
    assert [outfit.places for outfit in whole] == [outfit.places for outfit in parts] and len(whole) == 3
    assert [outfit.score for outfit in whole] == pytest.approx([outfit.score for outfit in parts], abs=1e-5)


def test_an_end_that_is_likely_enough_grows_no_further(model, items):
    grown = {"left": 0, "right": 0}
    for start in range(len(items)):
        left, right = end_probabilities(model, items, [start])
        both = SearchOptions(min_items=1, end_probability=0.999 * min(left, right))
        (found,) = search_outfits(model, items, [start], options=both)
        assert found.places == [start] and found.stopped == "end"
        less = SearchOptions(max_items=2, min_items=1, end_probability=1.001 * min(left, right))
        assert len(search_outfits(model, items, [start], options=less)[0].places) == 2
        one = SearchOptions(max_items=2, min_items=1, end_probability=(left + right) / 2)
        (found,) = search_outfits(model, items, [start], options=one)
        open_end = "right" if left > right else "left"
        assert found.places[0 if open_end == "right" else -1] == start and len(found.places) == 2
        grown[open_end] += 1
    assert grown["left"] and grown["right"]
    enough = SearchOptions(min_items=4, end_probability=0.0)
    (found,) = search_outfits(model, items, [3], options=enough)
    assert len(found.places) == 4 and found.stopped == "end"


def test_text_draws_the_added_items_nearer(model, items):
    images = torch.randn(14, 6, generator=torch.Generator().manual_seed(7))
    bank = list(range(10))
    assert text_nearness(model, images, bank, []) is None
    nearness = text_nearness(model, images, bank, [2, 5])
    text = model.word_embedding.weight[2] + model.word_embedding.weight[5]
    cosines = torch.cosine_similarity(images, text[None])
    wanted = (cosines - cosines[:10].mean()) / cosines[:10].std(correction=0)
    torch.testing.assert_close(nearness, wanted.detach(), atol=1e-4, rtol=1e-4)

    def outfit(weight, nearness=nearness):
        options = SearchOptions(max_items=4, end_probability=NEVER, text_weight=weight)
        return search_outfits(model, items, [11], bank=bank, nearness=nearness, options=options)[0]

    assert outfit(0.0).places == outfit(1.0, None).places
    strong = outfit(100.0)
    best = nearness[:10].argsort(descending=True)[:3].tolist()
    assert set(strong.places) == {11, *best}
    assert strong.text_gain == pytest.approx(100 * float(nearness[best].sum()) / 4, rel=1e-4)
    assert strong.score == pytest.approx(value(model, items, strong.places, bank) + strong.text_gain, abs=1e-3)


def test_alternatives_are_other_items_and_come_best_first(model, items):
    options = SearchOptions(max_items=4, end_probability=NEVER)
    found = search_outfits(model, items, [2], options=options, outfits=5)
    assert len(found) > 2 and len({frozenset(outfit.places) for outfit in found}) == len(found)
    assert [outfit.score for outfit in found] == sorted((outfit.score for outfit in found), reverse=True)
    assert found[0] == search_outfits(model, items, [2], options=options)[0]
    for outfit in found:
        assert outfit.score == pytest.approx(value(model, items, outfit.places), abs=1e-5)


@pytest.mark.parametrize("blank", [1, 2, 3, 4])
def test_candidates_for_a_blank_have_the_models_own_probabilities(model, items, blank):
    candidates = [13, 2, 5, 9, 10]
    ranked = rank_for_blank(model, items, [4, 0, 7], blank, candidates, block=2)
    scores = model.score_candidates(
        items[[4, 0, 7]][None], torch.tensor([3]), torch.tensor([blank]), items[candidates][None]
    )[0]
    order = scores.argsort(descending=True).tolist()
    assert [place for place, _ in ranked] == [candidates[k] for k in order]
    assert [score for _, score in ranked] == pytest.approx(scores[order].tolist(), abs=1e-6)


def test_impossible_searches_are_refused(model, items):
    with pytest.raises(ValueError, match="one item at least"):
        search_outfits(model, items, [])
    with pytest.raises(ValueError, match="one product twice"):
        search_outfits(model, items, [3, 3])
    with pytest.raises(ValueError, match="one product twice"):
        search_outfits(model, items, [3, 4], identities=[0] * 14)
    with pytest.raises(ValueError, match="has 3 items, max_items is 2"):
        search_outfits(model, items, [3, 4, 5], options=SearchOptions(max_items=2, min_items=1))
    with pytest.raises(ValueError, match="min_items 4 is above max_items 3"):
        SearchOptions(max_items=3, min_items=4)
    with pytest.raises(ValueError, match="beam must be 1"):
        SearchOptions(beam=0)
    with pytest.raises(ValueError, match="blank is at 3 of 2"):
        rank_for_blank(model, items, [1], 3, [2])
    with pytest.raises(ValueError, match="there are 1 and 0"):
        rank_for_blank(model, items, [1], 1, [])


def test_distinct_keeps_the_first_of_each():
    assert distinct([4, 4, 0, 2, 0]) == [0, 2, 3]
