"""Image-text protocols: ranks against brute force, candidate lists, data sets, and the program with a tiny model."""

import copy
import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from data_scripts.fashionklip_files import KlipLayout, NpzImages, read_captions
from tests.conftest import GOLDEN
from tests.modeling.clip4cir_examples import VISION
from tests.modeling.fashionklip_examples import tiny_model, tiny_processor
from train.engine.cards import read_results
from train.retrieval.image_text import ImageTextSet, draw_candidates, evaluate_image_text, right_rows
from train.retrieval.image_text_data import detect_image_text_layout, load_image_text_set
from train.retrieval.image_text_protocols import DIRECTIONS, IMAGE_TEXT_PROTOCOLS, IMAGE_TO_TEXT, TEXT_TO_IMAGE
from train.retrieval.rank_files import read_ranks

from .conftest import write_picture
from .test_evaluation_programs import last_line, run

FULL, SAMPLED, TITLES = "fashiongen/full", "fashiongen/sampled-100", "retrieval/same-title"
TREE = GOLDEN / "fashionklip" / "data_small"
CUTOFFS = (1, 5, 10)


# Brute force


def scores_of(queries, gallery):
    """Cosines in float64; equal rows get equal scores because every row is summed alone and alike."""
    queries, gallery = (np.asarray(f, np.float64) for f in (queries, gallery))
    queries, gallery = (f / np.sqrt((f * f).sum(axis=1, keepdims=True)) for f in (queries, gallery))
    return np.stack([(q * gallery).sum(axis=1) for q in queries])


def place(scores, right):
    """Place of the best right answer, 0 for the first; of equal scores the earlier row is in front."""
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    return min(order.index(row) for row in right)


def brute_ranks(queries, gallery, right):
    return [place(s, r) for s, r in zip(scores_of(queries, gallery), right, strict=True)]


def brute_list_ranks(queries, gallery, entry):
    """Ranks inside a query's own list; places in the list count for nothing, rows of the gallery do."""
    ranks, scores = [], scores_of(queries, gallery)
    for query, rows in zip(entry["queries"], entry["candidates"], strict=True):
        ordered = sorted(rows)
        ranks.append(place(scores[query][ordered], [ordered.index(rows[0])]))
    return ranks


def recalls(ranks):
    return [100 * np.mean(np.asarray(ranks) < k) for k in CUTOFFS]


def check_result(result, ranks):
    """Ranks of both directions, and every figure from them."""
    record = result.records["model"]
    figures = {}
    for direction in DIRECTIONS:
        assert record.ranks[record.categories == direction].tolist() == list(ranks[direction])
        figures |= {f"{direction}_recall_at{k}": v for k, v in zip(CUTOFFS, recalls(ranks[direction]), strict=True)}
        assert result.median_rank[direction] == np.median(ranks[direction]) + 1
    figures["mean_recall"] = np.mean(list(figures.values()))
    assert {name: f.value for name, f in result.figures.items()} == pytest.approx(figures)


# Sets and features


def products_set(products=130, categories=5, seed=0, **changes):
    """Products with one to three photos, photos and captions in orders of their own."""
    draw = np.random.default_rng(seed)
    names = [f"p{i}" for i in draw.permutation(products)]
    category = {name: f"c{draw.integers(categories)}" for name in names}
    owners = [name for name in names for _ in range(draw.integers(1, 4))]
    owners = [owners[i] for i in draw.permutation(len(owners))]
    fields = {
        "image_ids": [f"{owner}_{i}" for i, owner in enumerate(owners)],
        "images": {},
        "text_ids": names,
        "texts": [f"caption of {name}" for name in names],
        "image_owner": owners,
        "text_owner": names,
        "image_category": [category[owner] for owner in owners],
        "text_category": [category[name] for name in names],
        "fingerprint": {"digest": "d"},
    }
    return ImageTextSet(**fields | changes)


def titles_set(images=40, titles=9, seed=0):
    """One caption per image and a second one for every fourth; captions repeat."""
    draw = np.random.default_rng(seed)
    own = [[f"title {t}" for t in draw.choice(titles, 1 + (i % 4 == 0), replace=False)] for i in range(images)]
    pairs = [(i, text) for i, texts in enumerate(own) for text in texts]
    return ImageTextSet(
        image_ids=[f"i{i}" for i in range(images)],
        images={},
        text_ids=[f"{n}-i{i}" for n, (i, _) in enumerate(pairs)],
        texts=[text for _, text in pairs],
        image_owner=[tuple(texts) for texts in own],
        text_owner=[text for _, text in pairs],
    )


def features_with_ties(data, dim, seed=1):
    """Features that point to the right answers a little; every third row repeats an earlier one or is half of it."""
    draw = np.random.default_rng(seed)
    sides = []
    for count in (len(data.image_ids), len(data.texts)):
        rows = draw.standard_normal((count, dim)) + np.linspace(-1, 1, dim)
        for row in range(3, count, 3):
            rows[row] = rows[draw.integers(row)] * (1 if row % 2 else 0.5)
        sides.append(torch.tensor(rows, dtype=torch.float32))
    return sides


def evaluated(name, data, features, **options):
    return evaluate_image_text(name, data, *features, resamples=100, **options)


# Whole galleries


@pytest.mark.parametrize("dim", [6, 512])
@pytest.mark.parametrize("block", [None, 256, 4000])
@pytest.mark.parametrize(("name", "make"), [(FULL, products_set), (TITLES, titles_set)])
def test_ranks_are_those_of_brute_force(name, make, block, dim):
    data = make()
    images, texts = features = features_with_ties(data, dim)
    captions = [set(own) if isinstance(own, tuple) else {own} for own in data.image_owner]
    of_text = [[row for row, own in enumerate(captions) if owner in own] for owner in data.text_owner]
    of_image = [[row for row, owner in enumerate(data.text_owner) if owner in own] for own in captions]
    ranks = {
        TEXT_TO_IMAGE: brute_ranks(texts, images, of_text),
        IMAGE_TO_TEXT: brute_ranks(images, texts, of_image),
    }
    result = evaluated(name, data, features, max_block_bytes=block)
    check_result(result, ranks)
    assert result.candidates is None
    assert result.counts["queries_per_category"] == {TEXT_TO_IMAGE: len(texts), IMAGE_TO_TEXT: len(images)}
    assert result.counts["gallery"] == {TEXT_TO_IMAGE: len(images), IMAGE_TO_TEXT: len(texts)}


def test_a_matrix_typed_by_hand():
    data = ImageTextSet(["a", "b", "c"], {}, ["s", "t"], ["shirt", "tie"], ["s", "t", "s"], ["s", "t"])
    images = torch.tensor([[0.0, 1.0], [3.0, 0.0], [2.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.2]])
    # Caption s: b and c are equal and b is earlier, so c is second. Caption t: b is as near as c, and earlier.
    # Photo a: t is nearest, s second. Photo b: s before t, so t is second. Photo c: s.
    check_result(evaluated(FULL, data, (images, texts)), {TEXT_TO_IMAGE: [1, 0], IMAGE_TO_TEXT: [1, 1, 0]})


def test_rows_of_equal_owners_are_right_whatever_the_order():
    assert right_rows(["a", "b", "c"], ["b", "a", "b"]) == [[1], [0, 2], []]
    assert right_rows([("a", "b"), ("c",)], ["b", "a", "b"]) == [[0, 1, 2], []]
    assert right_rows(["a", "b"], [("a", "b"), ("b",), ("a", "a")]) == [[0, 2], [0, 1]]


def test_controls_are_those_of_random_orders():
    data = products_set(40, 3)
    result = evaluated(FULL, data, features_with_ties(data, 8))

    def chance(total, right, k):
        return 1 - math.comb(total - right, k) / math.comb(total, k)

    views = {owner: data.image_owner.count(owner) for owner in data.text_owner}
    there = {c: data.image_category.count(c) for c in data.image_category}
    captions = {c: data.text_category.count(c) for c in data.text_category}
    for k in CUTOFFS:
        controls = {c: figures[f"{TEXT_TO_IMAGE}_recall_at{k}"] for c, figures in result.controls.items()}
        pairs = list(zip(data.text_owner, data.text_category, strict=True))
        wanted = [chance(len(data.image_ids), views[owner], k) for owner, _ in pairs]
        assert controls["chance"] == pytest.approx(100 * np.mean(wanted))
        wanted = [chance(there[c], views[owner], k) for owner, c in pairs]
        assert controls["category_only"] == pytest.approx(100 * np.mean(wanted))
        controls = {c: figures[f"{IMAGE_TO_TEXT}_recall_at{k}"] for c, figures in result.controls.items()}
        assert controls["chance"] == pytest.approx(100 * k / 40)
        wanted = [min(1, k / captions[c]) for c in data.image_category]
        assert controls["category_only"] == pytest.approx(100 * np.mean(wanted))
    without = dataclasses.replace(data, image_category=None)
    assert set(evaluated(FULL, without, features_with_ties(data, 8)).controls) == {"chance"}


def test_what_does_not_fit_is_refused():
    data = products_set(12)
    images, texts = features_with_ties(data, 4)
    with pytest.raises(ValueError, match=f"{len(images)} images but {len(images) - 1} feature rows"):
        evaluated(FULL, data, (images[1:], texts))
    with pytest.raises(ValueError, match="12 texts but 11 feature rows"):
        evaluated(FULL, data, (images, texts[1:]))
    texts[3, 1] = float("nan")
    with pytest.raises(ValueError, match="row 3 of the .* holds NaN or infinity"):
        evaluated(FULL, data, (images, texts))
    lost = dataclasses.replace(data, image_owner=["nobody", *data.image_owner[1:]])
    with pytest.raises(ValueError, match=f"query image_to_text/{data.image_ids[0]} has no right answer"):
        evaluated(FULL, lost, features_with_ties(data, 4))
    with pytest.raises(ValueError, match="at least one image and one text"):
        products_set(12, texts=[])


# Lists of candidates


@pytest.fixture(scope="module")
def lists():
    data = products_set()
    return data, draw_candidates(IMAGE_TEXT_PROTOCOLS[SAMPLED], data)


@pytest.mark.parametrize("dim", [6, 512])
def test_ranks_in_drawn_lists_are_those_of_brute_force(lists, dim):
    data, drawn = lists
    images, texts = features = features_with_ties(data, dim)
    ranks = {
        TEXT_TO_IMAGE: brute_list_ranks(texts, images, drawn[TEXT_TO_IMAGE]),
        IMAGE_TO_TEXT: brute_list_ranks(images, texts, drawn[IMAGE_TO_TEXT]),
    }
    result = evaluated(SAMPLED, data, features)
    check_result(result, ranks)
    assert result.candidates == drawn and result.counts["gallery"] == {d: 101 for d in DIRECTIONS}
    chance = result.controls["chance"]
    assert [chance[f"{TEXT_TO_IMAGE}_recall_at{k}"] for k in CUTOFFS] == pytest.approx([100 * k / 101 for k in CUTOFFS])


def test_a_list_holds_a_right_answer_and_wrong_ones_of_the_category_first(lists):
    data, drawn = lists
    for direction in DIRECTIONS:
        asked, there = data.categories(direction)
        right = right_rows(*data.side(direction))
        assert drawn[direction]["queries"] == list(range(len(right)))  # fewer than 1,000: all of them
        firsts = set()
        for query, rows in zip(*(drawn[direction][n] for n in ("queries", "candidates")), strict=True):
            assert len(rows) == len(set(rows)) == 101
            assert rows[0] in right[query] and not set(rows[1:]) & set(right[query])
            same = {row for row, category in enumerate(there) if category == asked[query]} - set(right[query])
            assert len(same & set(rows)) == min(len(same), 100)
            firsts.add(right[query].index(rows[0]))
        assert firsts == ({0, 1, 2} if direction == TEXT_TO_IMAGE else {0})  # any photo of the product


def test_one_seed_gives_one_draw_and_another_another(lists):
    data, drawn = lists
    protocol = IMAGE_TEXT_PROTOCOLS[SAMPLED]
    assert draw_candidates(protocol, products_set()) == drawn == json.loads(json.dumps(drawn))
    other = draw_candidates(protocol, data, seed=1)
    assert all(other[d]["candidates"] != drawn[d]["candidates"] for d in DIRECTIONS)


def test_as_many_queries_are_drawn_as_the_protocol_wants(lists):
    data, _ = lists
    protocol = dataclasses.replace(IMAGE_TEXT_PROTOCOLS[SAMPLED], candidates=4, queries=20)
    drawn = draw_candidates(protocol, data)
    for direction in DIRECTIONS:
        queries = drawn[direction]["queries"]
        assert len(queries) == len(set(queries)) == 20 and queries == sorted(queries) and queries != list(range(20))
        assert {len(rows) for rows in drawn[direction]["candidates"]} == {4}
        asked, there = data.categories(direction)
        for query, rows in zip(queries, drawn[direction]["candidates"], strict=True):
            assert {there[row] for row in rows} == {asked[query]}


def test_lists_that_are_given_are_used(lists):
    data, drawn = lists
    features = features_with_ties(data, 6)
    other = draw_candidates(IMAGE_TEXT_PROTOCOLS[SAMPLED], data, seed=1)
    first, second = (evaluated(SAMPLED, data, features, candidates=c) for c in (drawn, other))
    assert second.candidates == other
    assert first.records["model"].ranks.tolist() != second.records["model"].ranks.tolist()
    assert first.records["model"].data != second.records["model"].data  # not to be compared with each other


def spoiled(change):
    """A change of the lists of one direction, in place."""

    def make(drawn):
        change(drawn[IMAGE_TO_TEXT])
        return drawn

    return make


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda drawn: [], "not lists for text_to_image and image_to_text"),
        (lambda drawn: {TEXT_TO_IMAGE: drawn[TEXT_TO_IMAGE]}, "nothing usable for image_to_text"),
        (spoiled(lambda e: e["queries"].pop()), "nothing usable for image_to_text"),
        (spoiled(lambda e: e["candidates"][2].pop()), r"image_to_text, query 2\): expected every query once with 101"),
        (spoiled(lambda e: e["candidates"][2].__setitem__(5, e["candidates"][2][6])), "101 different candidates"),
        (spoiled(lambda e: e["queries"].__setitem__(3, 2)), r"query 2\): expected every query once"),
        (spoiled(lambda e: e["queries"].__setitem__(3, 9999)), r"don't fit this data \(image_to_text, query 9999\)"),
        (spoiled(lambda e: e["candidates"][2].__setitem__(5, 130)), r"don't fit this data \(image_to_text, query 2\)"),
        (spoiled(lambda e: e["candidates"][2].__setitem__(5, -1)), r"don't fit this data \(image_to_text, query 2\)"),
        (spoiled(lambda e: e["candidates"][2].reverse()), r"don't fit this data \(image_to_text, query 2\)"),
    ],
)
def test_lists_of_other_data_are_refused(spoil, message, lists):
    data, drawn = lists
    with pytest.raises(ValueError, match=message):
        evaluated(SAMPLED, data, features_with_ties(data, 6), candidates=spoil(copy.deepcopy(drawn)))


def test_a_second_right_answer_in_a_list_is_refused(lists):
    data, drawn = lists
    right = right_rows(*data.side(TEXT_TO_IMAGE))
    query = next(q for q, rows in enumerate(right) if len(rows) > 1)
    drawn = copy.deepcopy(drawn)
    rows = drawn[TEXT_TO_IMAGE]["candidates"][query]
    rows[7] = next(row for row in right[query] if row != rows[0])
    with pytest.raises(ValueError, match=rf"don't fit this data \(text_to_image, query {query}\)"):
        evaluated(SAMPLED, data, features_with_ties(data, 6), candidates=drawn)


def test_data_that_cannot_be_drawn_from_is_refused():
    protocol = IMAGE_TEXT_PROTOCOLS[SAMPLED]
    with pytest.raises(ValueError, match="from the query's sub-category; this data has none"):
        draw_candidates(protocol, products_set(image_category=None))
    with pytest.raises(ValueError, match="needs 101 candidates; this data has 60"):
        draw_candidates(protocol, products_set(60))
    data = products_set(101)
    data.text_owner[0] = data.text_owner[1]  # two captions of one product: 99 wrong ones are left for its photos
    with pytest.raises(ValueError, match="only 99 wrong answers for query .*, 100 are needed"):
        draw_candidates(protocol, data)


# Data sets


@pytest.fixture(scope="module")
def fashiongen_dir(tmp_path_factory):
    """105 products of two sub-categories, every second one with two views; two have one and the same text."""
    root = tmp_path_factory.mktemp("gen") / "FashionGen"
    (root / "val").mkdir(parents=True)
    info = []
    for number in range(105):
        views = [f"{number}_{view}.png" for view in range(1 + number % 2)]
        for view, name in enumerate(views):
            draw = np.random.default_rng(1000 * number + view)
            Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(root / "val" / name)
        colour, garment = ("navy", "red", "white")[number % 3], ("coat", "dress")[number % 2]
        text = {"title": f"{colour.title()} {garment}", "description": f"Wool {garment} number {number % 104}."}
        labels = {"category_id": 0, "subcategory_id": number % 2, "attributes_id": []}
        info.append({"id": number, "images": views} | text | labels)
    labels = {"attributes": {}, "categories": {"TOPS": 0}, "subcategories": {"COATS": 0, "DRESSES": 1}}
    for name, content in (("val_info", info), ("labels", labels)):
        (root / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def test_fashiongen_has_a_caption_per_product_and_every_view(fashiongen_dir):
    data = load_image_text_set("fashiongen", fashiongen_dir, FULL)
    assert data.text_ids == data.text_owner == [str(i) for i in range(105)]
    assert data.texts[3] == "Navy dress. Wool dress number 3."
    assert data.image_ids[:4] == ["0_0", "1_0", "1_1", "2_0"] and data.image_owner[:4] == ["0", "1", "1", "2"]
    assert list(data.images) == data.image_ids and len(data.image_ids) == 157
    assert data.text_category[:3] == ["COATS", "DRESSES", "COATS"]
    assert data.image_category[:4] == ["COATS", "DRESSES", "DRESSES", "COATS"]
    assert (data.fingerprint["layout"], data.fingerprint["split"]) == ("fashiongen", "validation")
    titles = load_image_text_set("fashiongen", fashiongen_dir, FULL, caption=["title"])
    assert titles.texts[3] == "Navy dress" and titles.fingerprint["digest"] != data.fingerprint["digest"]
    with pytest.raises(ValueError, match="has no split 'test'; it has validation"):
        load_image_text_set("fashiongen", fashiongen_dir, FULL, split="test")


def test_without_sub_categories_there_is_nothing_to_draw_from(fashiongen_dir, tmp_path):
    info = json.loads((fashiongen_dir / "val_info.json").read_text())[:3]
    (tmp_path / "val").symlink_to(fashiongen_dir / "val")
    (tmp_path / "val_info.json").write_text(json.dumps([{k: v for k, v in p.items() if "_id" not in k} for p in info]))
    data = load_image_text_set("fashiongen", tmp_path, SAMPLED)
    assert data.text_category is None and data.categories(TEXT_TO_IMAGE) is None and len(data.image_ids) == 4


def test_a_catalogue_has_a_caption_per_image(catalogue_dir, tmp_path):
    data = load_image_text_set("catalogue", catalogue_dir, TITLES)
    assert data.image_ids == [f"p{i}" for i in range(12)] and len(data.texts) == 12
    assert data.image_owner[5] == ("blue shirt",) and data.text_owner[5] == data.texts[5] == "blue shirt"
    assert right_rows(*data.side(TEXT_TO_IMAGE))[5] == right_rows(*data.side(IMAGE_TO_TEXT))[5] == [1, 5, 9]
    assert data.text_category is None and data.fingerprint["split"] == "valid"
    rows = [{"id": f"n{i}", "title": "hat", "kind": "x", "articleType": f"t{i}"} for i in range(2)]
    (tmp_path / "products_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for i in range(2):
        write_picture(tmp_path / "images" / f"n{i}.jpg", i)
    data = load_image_text_set("catalogue", tmp_path, TITLES, split="test")
    assert data.image_category == data.text_category == ["t0", "t1"] and data.fingerprint["split"] == "test"


def test_an_archive_has_images_with_several_captions():
    data = load_image_text_set("fashionklip", TREE, TITLES)
    captions = read_captions(KlipLayout.find(TREE).val_captions)
    pairs = [(image, c.query_text) for c in captions for image in c.item_ids]
    assert data.texts == data.text_owner == [text for _, text in pairs]
    for image, own in zip(data.image_ids, data.image_owner, strict=True):
        assert own == tuple(text for i, text in pairs if i == image)
    assert sorted(data.image_ids) == sorted({image for image, _ in pairs})


def test_layouts_are_told_by_name_and_files(fashiongen_dir, catalogue_dir, tmp_path):
    assert detect_image_text_layout("anything", FULL) == "fashiongen"
    for folder, wanted in (
        (fashiongen_dir, "fashiongen"),
        (fashiongen_dir.parent, "fashiongen"),
        (catalogue_dir, "catalogue"),
        (TREE, "fashionklip"),
        (TREE / "tmp", "fashionklip"),
    ):
        assert detect_image_text_layout(folder, TITLES) == wanted
    with pytest.raises(FileNotFoundError, match=f"no captions with images found under {tmp_path}"):
        detect_image_text_layout(tmp_path, TITLES)
    with pytest.raises(ValueError, match="reads the layouts catalogue, fashiongen, fashionklip, not cirr"):
        load_image_text_set("cirr", tmp_path, TITLES)
    with pytest.raises(ValueError, match="needs products with several photos, the layout fashiongen, not catalogue"):
        load_image_text_set("catalogue", catalogue_dir, FULL)


# The program


def saved_model(folder, size):
    torch.manual_seed(size)
    model = tiny_model(vision_config=VISION["vit"] | {"image_size": size})
    model.save_pretrained(folder)
    tiny_processor(model).save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def klip(tmp_path_factory):
    """A folder with a tiny FashionKLIP for 32 pixels, and the model."""
    return saved_model(tmp_path_factory.mktemp("klip"), 32)


def features_of(model, data):
    """What the model gives for each image and text of a set, one by one."""
    processor, images = tiny_processor(model), []
    with torch.no_grad():
        for image_id in data.image_ids:
            if isinstance(data.images, dict):
                source = data.images[image_id]
                picture = Image.open(source["path"] if isinstance(source, dict) else source).convert("RGB")
                pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
            else:
                pixels = torch.from_numpy(data.images[image_id])[None]
            images.append(model.get_image_features(pixels))
        texts = [model.get_text_features(**processor(text=[t], return_tensors="pt")) for t in data.texts]
    return torch.cat(images), torch.cat(texts)


def program(folder, model_dir, protocol, data_dir, *more):
    """One evaluation: its result and its ranks per direction."""
    arguments = ("--model", model_dir, "--protocol", protocol, "--data_dir", data_dir, "--output_dir", folder)
    output = run("evaluation", *arguments, "--resamples", 100, "--cpu", *more)
    (result,) = read_results(folder / "results.json")
    assert last_line(output) == {protocol: {n: round(f["value"], 4) for n, f in result["figures"].items()}}
    record = read_ranks(folder)[protocol]["model"]
    return result, {d: record.ranks[record.categories == d].tolist() for d in DIRECTIONS}


def check_program(result, ranks, wanted):
    assert ranks == wanted
    figures = {f"{d}_recall_at{k}": v for d in DIRECTIONS for k, v in zip(CUTOFFS, recalls(wanted[d]), strict=True)}
    figures["mean_recall"] = np.mean(list(figures.values()))
    assert {n: f["value"] for n, f in result["figures"].items()} == pytest.approx(figures)
    assert all(f["low"] <= f["value"] <= f["high"] and f["unit"] == "percent" for f in result["figures"].values())


def whole_ranks(model, data):
    images, texts = features_of(model, data)
    return {
        TEXT_TO_IMAGE: brute_ranks(texts, images, right_rows(*data.side(TEXT_TO_IMAGE))),
        IMAGE_TO_TEXT: brute_ranks(images, texts, right_rows(*data.side(IMAGE_TO_TEXT))),
    }


def test_the_program_on_fashiongen_gives_the_figures_of_the_models_features(klip, fashiongen_dir, tmp_path):
    result, ranks = program(tmp_path / "n", klip[0], FULL, fashiongen_dir, "--csv", "--data_name", "made-up")
    data = load_image_text_set("fashiongen", fashiongen_dir, FULL)
    check_program(result, ranks, whole_ranks(klip[1], data))
    assert {p.name for p in (tmp_path / "n").iterdir()} == {"results.json", "ranks.npz", "results.csv"}
    assert result["data"] == {
        "fingerprint": data.fingerprint["digest"],
        "layout": "fashiongen",
        "queries": 262,
        "queries_per_category": {TEXT_TO_IMAGE: 105, IMAGE_TO_TEXT: 157},
        "gallery": {TEXT_TO_IMAGE: 157, IMAGE_TO_TEXT: 105},
        "name": "made-up",
    }
    assert set(result["controls"]) == {"chance", "category_only"} and result["split"] == "validation"
    with open(tmp_path / "n" / "results.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["system"] == "model"]
    assert {row["metric"]: float(row["value"]) for row in rows} == {n: f["value"] for n, f in result["figures"].items()}


def test_the_program_keeps_the_drawn_lists_and_takes_them_again(klip, fashiongen_dir, tmp_path):
    result, ranks = program(tmp_path / "one", klip[0], SAMPLED, fashiongen_dir)
    data = load_image_text_set("fashiongen", fashiongen_dir, SAMPLED)
    drawn = json.loads((tmp_path / "one" / "candidates.json").read_text())
    assert drawn == draw_candidates(IMAGE_TEXT_PROTOCOLS[SAMPLED], data)
    images, texts = features_of(klip[1], data)
    wanted = {
        TEXT_TO_IMAGE: brute_list_ranks(texts, images, drawn[TEXT_TO_IMAGE]),
        IMAGE_TO_TEXT: brute_list_ranks(images, texts, drawn[IMAGE_TO_TEXT]),
    }
    check_program(result, ranks, wanted)
    assert result["data"]["gallery"] == {d: 101 for d in DIRECTIONS}
    # Other lists are used when they are given, and kept.
    other = tmp_path / "other.json"
    other.write_text(json.dumps(draw_candidates(IMAGE_TEXT_PROTOCOLS[SAMPLED], data, seed=1)))
    _, again = program(tmp_path / "two", klip[0], SAMPLED, fashiongen_dir, "--candidates", other)
    assert again != ranks and (tmp_path / "two" / "candidates.json").read_text() == other.read_text()
    _, again = program(
        tmp_path / "three", klip[0], SAMPLED, fashiongen_dir, "--candidates", tmp_path / "one" / "candidates.json"
    )
    assert again == ranks
    assert last_line(run("compare", tmp_path / "one", tmp_path / "three", "--resamples", 100))
    with pytest.raises(SystemExit, match=r"digests (\w+) and (?!\1)\w+\)"):
        run("compare", tmp_path / "one", tmp_path / "two")
    with pytest.raises(FileNotFoundError, match="--candidates nowhere.json: no such file"):
        program(tmp_path / "four", klip[0], SAMPLED, fashiongen_dir, "--candidates", "nowhere.json")


def test_the_program_on_a_catalogue_and_on_an_archive(klip, catalogue_dir, tmp_path):
    result, ranks = program(tmp_path / "shop", klip[0], TITLES, catalogue_dir)
    check_program(result, ranks, whole_ranks(klip[1], load_image_text_set("catalogue", catalogue_dir, TITLES)))
    assert result["data"]["layout"] == "catalogue" and set(result["controls"]) == {"chance"}
    folder, model = saved_model(tmp_path / "small", 16)
    result, ranks = program(tmp_path / "tree", folder, TITLES, TREE)
    data = load_image_text_set("fashionklip", TREE, TITLES)
    assert isinstance(data.images, NpzImages)
    check_program(result, ranks, whole_ranks(model, data))
    with pytest.raises(ValueError, match=r"val\.16\.npz .* holds images of 16 pixels and the model takes 32"):
        program(tmp_path / "no", klip[0], TITLES, TREE)
