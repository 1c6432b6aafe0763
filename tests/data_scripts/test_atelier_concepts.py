"""Atelier's product texts: known concepts, both wordings, the FashionGen and FashionKLIP trees, mined graphs."""

import ast
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts.atelier import WorldSettings, build_world, make_design
from data_scripts.atelier.concepts import NounPhrase, Silent, Text
from data_scripts.atelier.fashiongen_layout import (
    CONCEPTS_FILE,
    PHOTO_VIEWS,
    concept_truth,
    product_rows,
    read_mentions,
)
from data_scripts.atelier.product_texts import product_texts
from data_scripts.atelier.wording import WORDINGS, exotic_words
from data_scripts.concepts.building import Record, build_graph
from data_scripts.concepts.hierarchy import ancestors
from data_scripts.concepts.lexicon import default_lexicon, singular
from data_scripts.concepts.records import CLIP_MEAN, CLIP_STD
from data_scripts.fashiongen import FashionGen, caption_of
from data_scripts.fashionklip_files import (
    FashionKLIPFiles,
    KlipLayout,
    NpzImages,
    read_captions,
    read_concepts,
    read_fathers,
)
from data_scripts.images import open_image
from data_scripts.prepare import prepare

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = WorldSettings(garments=200, seed=5, image_size=32, layouts=("fashiongen", "fashionklip"))
MINED_DESIGNS = 60  # 1,080 garments


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("atelier") / "world"
    build_world(root, SETTINGS, workers=1, progress=False)
    return root


def _texts(seed: int, wording: str, designs: int = MINED_DESIGNS):
    garments = [garment for number in range(designs) for garment in make_design(seed, number)]
    return [(garment, product_texts(seed, garment, wording)) for garment in garments]


# The grammar


def test_concepts_of_a_noun_phrase() -> None:
    coat = NounPhrase(("olive", "cotton"), "coat", article="an", attached=(("with", NounPhrase(("fur",), "hood")),))
    assert coat.text() == "an olive cotton coat with fur hood"
    assert coat.fathers() == {
        "olive cotton coat with fur hood": "olive cotton coat",
        "coat with fur hood": "coat",
        "olive cotton coat": "cotton coat",
        "olive coat": "coat",
        "cotton coat": "coat",
        "coat": "",
        "fur hood": "hood",
        "hood": "",
    }


def test_a_compound_head_stands_below_its_last_word_and_said_words_are_no_concepts() -> None:
    bag = NounPhrase((Silent("women's"), "black", "white"), "tote bag", plural=True, joined=2)
    assert bag.text() == "women's black and white tote bags"
    assert bag.fathers()["tote bag"] == "bag" and "women's" not in " ".join(bag.phrases())
    assert "bag" not in bag.phrases()


def test_a_text_has_the_concepts_of_all_its_phrases() -> None:
    text = Text(("it has", NounPhrase((), "hood"), "and", NounPhrase((Silent("two"),), "pocket", plural=True), "."))
    assert text.text() == "it has hood and two pockets."
    assert text.fathers() == {"hood": "", "pocket": ""}


# The texts


@pytest.mark.parametrize("wording", WORDINGS)
def test_texts_are_functions_of_the_garment_and_hold_the_words_of_their_concepts(wording) -> None:
    for garment, texts in _texts(7, wording, 12):
        again = product_texts(7, garment, wording)
        assert (again.title, again.description) == (texts.title, texts.description)
        said = f"{texts.title} {texts.description}".lower().replace(",", " ").replace(".", " ").split()
        said = {*said, *map(singular, said)}
        fathers = texts.fathers()
        assert fathers and texts.description.endswith(".")
        assert all(set(phrase.split()) <= said for phrase in fathers), (texts.title, fathers)
        assert all(ancestors(phrase, fathers) is not None for phrase in fathers)  # no circle


def test_garments_of_one_design_are_told_apart_by_their_texts() -> None:
    """What differs in the pictures is said, whatever it is: the caption finds its product."""
    unsaid = total = 0
    for number in range(40):
        seen = [frozenset(product_texts(7, garment).fathers()) for garment in make_design(7, number)]
        total += len(seen)
        unsaid += len(seen) - len(set(seen))
    assert unsaid < 0.05 * total


def test_the_second_world_uses_words_that_the_lexicon_lacks() -> None:
    lexicon = default_lexicon()
    assert len(exotic_words()) > 50
    for word in exotic_words():
        assert lexicon.kind(word) is None and singular(word) == word, word
    shop = {head.rpartition(" ")[2] for _, head in WORDINGS["shop"].kinds.values()}
    assert not shop & {head for _, head in WORDINGS["exotic"].kinds.values()}


def test_mining_knows_nothing_of_atelier() -> None:
    for path in (REPOSITORY / "data_scripts/concepts").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any("atelier" in name for name in names), path


# The truth, and what is mined


@pytest.mark.parametrize("seed", (7, 11))
@pytest.mark.parametrize("wording", WORDINGS)
def test_mined_concepts_and_fathers_are_the_true_ones(wording, seed) -> None:
    garments = [garment for number in range(MINED_DESIGNS) for garment in make_design(seed, number)]
    rows = list(product_rows(seed, garments, wording))
    truth = concept_truth(json.loads(row) for path, row in rows if path.endswith("concept_mentions.jsonl"))
    products = [json.loads(row) for path, row in rows if path.endswith("train_info.json")]
    records = [
        Record((one["title"], one["description"]), caption_of(one, "both"), (), "", (one["title"], one["description"]))
        for one in products
    ]
    fathers = build_graph(records).fathers()
    assert len(truth.fathers) > 500
    for mined, true in (
        (set(fathers), set(truth.fathers)),
        ({pair for pair in fathers.items() if pair[1]}, truth.edges()),
    ):
        right = len(mined & true)
        assert right >= 0.9 * len(mined) and right >= 0.9 * len(true)


# The trees


def test_the_builder_reads_the_fashiongen_tree(world) -> None:
    rows = prepare(FashionGen, "products", world / "FashionGen")
    assert {split: len(part) for split, part in rows.items()} == {"train": 74, "validation": 72, "test": 54}
    garments = {
        row["index"]: row for row in map(json.loads, (world / "atelier/garments.jsonl").read_text().splitlines())
    }
    for row in rows["test"]:
        garment = garments[int(row["product_id"])]
        texts = product_texts(5, next(g for g in make_design(5, garment["index"] // 18) if g.id == garment["id"]))
        assert (row["title"], row["description"]) == (texts.title, texts.description)
        assert row["subcategory"] == garment["subcategory"].upper()
        assert [one.rpartition("_")[2] for one in row["image_ids"]] == list(PHOTO_VIEWS)
        assert all(open_image(image).size == (32, 32) for image in row["images"])
        assert {garment["colour"], garment["fabric"]} <= set(row["attributes"])


def test_the_builder_reads_the_fashionklip_tree(world) -> None:
    root = world / "fashionklip"
    pairs = prepare(FashionKLIPFiles, "pairs", root)
    assert len(pairs["train"]) == 74 * 3 and len(pairs["validation"]) == 72 * 3
    layout = KlipLayout.find(root)
    concepts = {one.phrase for one in read_concepts(layout.concepts)}
    kb = {one.phrase for one in read_concepts(layout.kb_concepts)}
    truth = concept_truth(read_mentions(world))
    assert concepts | kb == set(truth.fathers) and all(" " in one for one in concepts)
    assert read_fathers(layout.concept_fathers) == {one: truth.fathers[one] for one in concepts}
    ids = [one.query_id for one in (*read_concepts(layout.concepts), *read_concepts(layout.kb_concepts))]
    assert len(set(ids)) == len(ids)
    for caption in read_captions(layout.train_captions):
        assert caption.phrases and set(caption.phrases) <= set(truth.fathers)
        assert set(caption.match_phrases) == set(caption.phrases) & kb
    images = NpzImages(layout.train_images)
    photo = images.ids[0]
    with Image.open(world / "FashionGen/train" / f"{photo}.jpg") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
    expected = (pixels - CLIP_MEAN[:, None, None]) / CLIP_STD[:, None, None]
    np.testing.assert_allclose(images[photo], expected, atol=1e-5)
    assert len(NpzImages(layout.kb_images)) == 74


def test_the_truth_file_lists_what_five_training_products_have(world) -> None:
    rows = [json.loads(line) for line in (world / CONCEPTS_FILE).read_text().splitlines()]
    mentions = [row for row in read_mentions(world) if row["split"] == "train"]
    for row in rows:
        assert row["texts"] == sum(row["concept"] in one["fathers"] for one in mentions) >= 5
    names = {row["concept"] for row in rows}
    assert all(not row["father"] or row["father"] in names for row in rows)


def test_a_finished_world_is_checked_and_a_damaged_one_is_mended(world) -> None:
    def content() -> dict[str, str]:
        files = sorted(p for p in world.rglob("*") if p.is_file() and not p.name.startswith("."))
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = content()
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 0
    assert content() == before
    archive = next((world / "fashionklip").rglob("*.npz"))
    archive.write_bytes(archive.read_bytes()[:1000])
    (world / "FashionGen/labels.json").unlink()
    build_world(world, SETTINGS, workers=1, progress=False)
    assert content() == before


def test_settings_that_make_no_sense_are_errors(tmp_path, world) -> None:
    with pytest.raises(ValueError, match="made of the FashionGen tree"):
        WorldSettings(layouts=("fashionklip",))
    with pytest.raises(ValueError, match="wording is 'old'"):
        WorldSettings(wording="old")
    exotic = WorldSettings(garments=200, seed=5, image_size=32, layouts=SETTINGS.layouts, wording="exotic")
    with pytest.raises(ValueError, match="wording: None there, 'exotic' asked"):
        build_world(world, exotic, workers=1, progress=False)
    assert "wording" not in WorldSettings().as_dict()
    with pytest.raises(FileNotFoundError, match="--layouts fashiongen"):
        read_mentions(tmp_path)
