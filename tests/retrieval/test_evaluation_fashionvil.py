"""train/evaluation.py with every head of FashionViL: the figures that fine-tuning validates with, controls, clear refusals."""

import json

import numpy as np
import pytest
import torch

from modeling.fashionvil import MODELS, FashionViLImageProcessor, FashionViLProcessor
from tests.modeling.fashionvil_examples import SIZE, TEXT, tiny_model
from tests.retrieval.conftest import write_picture
from tests.retrieval.test_evaluation_programs import last_line, launched, run
from train.engine.cards import read_results
from train.retrieval.rank_files import read_ranks

COLOURS, KINDS = ("red", "blue", "green"), ("coat", "dress")
PARENTS = {"coat": "outerwear", "dress": "clothes"}
# Raw categories of Polyvore Outfits.
ITEM_CATEGORIES = (3, 11, 27)


@pytest.fixture(scope="module")
def fashiongen_dir(tmp_path_factory):
    """24 training and 18 validation products with one to three photos; one validation product has no labels."""
    root = tmp_path_factory.mktemp("fashiongen")
    labels = {
        "categories": {name: number for number, name in enumerate(sorted(PARENTS.values()))},
        "subcategories": {name: number for number, name in enumerate(f"{c} {k}" for c in COLOURS for k in KINDS)},
    }
    for split, folder, count in (("train_info", "train", 24), ("val_info", "val", 18)):
        rows = []
        for number in range(count):
            colour, kind = COLOURS[number % 3], KINDS[number % 2]
            names = [f"{folder}{number}_{view}.png" for view in range(1 + number % 3)]
            for view, name in enumerate(names):
                write_picture(root / "FashionGen" / folder / name, 10 * number + view + count)
            row = {
                "id": 1000 * count + number,
                "images": names,
                "title": f"{colour} {kind}",
                "description": f"{number}",
            }
            if number < count - 1 or folder == "train":
                row["category_id"] = labels["categories"][PARENTS[kind]]
                row["subcategory_id"] = labels["subcategories"][f"{colour} {kind}"]
            rows.append(row)
        (root / "FashionGen" / f"{split}.json").write_text(json.dumps(rows))
    (root / "FashionGen" / "labels.json").write_text(json.dumps(labels))
    return root


@pytest.fixture(scope="module")
def outfits_dir(tmp_path_factory):
    """60 items of three categories; 12 questions, and the other items in the gallery."""
    root = tmp_path_factory.mktemp("outfits")
    items = [str(100 + number) for number in range(60)]
    for number, item in enumerate(items):
        write_picture(root / "images" / f"{item}.jpg", 500 + number)
    generator = np.random.default_rng(4)
    questions = []
    for number in range(12):
        outfit = generator.choice(items, 2 + number % 3, replace=False).tolist()
        questions.append({"question": outfit[1:], "blank": outfit[0], "fake_data": False})
    gallery = [{"question": [item], "blank": item, "fake_data": True} for item in items]
    metadata = {item: {"category_id": str(ITEM_CATEGORIES[n % 3])} for n, item in enumerate(items)}
    for name, content in (
        ("ocir_disjoint_train", questions[:6]),
        ("ocir_disjoint_test", questions + gallery),
        ("polyvore_item_metadata", metadata),
    ):
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Folders of a tiny model of every class, and of one that knows sub-categories ("subcategory")."""
    from train.engine.vocabulary import word_piece_tokenizer

    texts = [f"{colour} {kind}." for colour in COLOURS for kind in KINDS] + ["is longer, is more striped plain 0 1 2 3"]
    tokenizer = word_piece_tokenizer(texts, 200)
    images = FashionViLImageProcessor(size=SIZE, resize=SIZE)
    folder = tmp_path_factory.mktemp("heads")
    kinds = {name: (name, {}) for name in MODELS}
    kinds["FashionViLForClassification"] = ("FashionViLForClassification", sorted(PARENTS.values()))
    kinds["subcategory"] = ("FashionViLForClassification", sorted(f"{c} {k}" for c in COLOURS for k in KINDS))
    for number, (name, (head, labels)) in enumerate(kinds.items()):
        fields = {"text_config": {**TEXT, "vocab_size": len(tokenizer)}, "outfit_categories": 153}
        if labels:
            fields |= {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
            fields["num_labels"] = len(labels)
        torch.manual_seed(number)
        tiny_model(head, **fields).save_pretrained(folder / name)
        FashionViLProcessor(images, tokenizer).save_pretrained(folder / name)
    return folder


def evaluated(model, protocol, data, *flags):
    return last_line(run("evaluation", "--model", model, "--protocol", protocol, "--data_dir", data, "--cpu", *flags))


def validated(folder, *flags):
    """Figures of train/fashionvil_finetune.py on a model as it is."""
    flags = ("--validate_only", "--cpu", "--output_dir", folder, *flags)
    found = last_line(run("fashionvil_finetune", *flags))
    return {name: value for name, value in found.items() if name not in ("output_dir", "steps")}


TASKS = {
    "retrieval": ("FashionViLForRetrieval", "fashiongen/full", "fashiongen_dir"),
    "category": ("FashionViLForClassification", "fashiongen/category", "fashiongen_dir"),
    "subcategory": ("subcategory", "fashiongen/subcategory", "fashiongen_dir"),
    "composition": ("FashionViLForComposition", "fashioniq/original-split", "fashioniq_dir"),
    "outfits": ("FashionViLForOutfitRetrieval", "polyvore-outfits/ocir", "outfits_dir"),
}


@pytest.mark.parametrize("task", TASKS)
def test_figures_are_those_of_the_validation_in_fine_tuning(task, heads, request, tmp_path):
    name, protocol, data = TASKS[task]
    data = request.getfixturevalue(data)
    flags = ["--task", task, "--model", heads / name, "--data_dir", data]
    if task == "composition":
        flags += ["--train_split", "val", "--protocol", protocol]  # the tree has no other split
    if task == "outfits":
        flags += ["--outfit_embedding_dim", "12"]
    figures = evaluated(heads / name, protocol, data, "--resamples", 100)[protocol]
    assert figures == pytest.approx(validated(tmp_path / "run", *flags), abs=1e-3)
    assert min(figures.values()) < 100


def test_products_are_classified_beside_two_controls(heads, fashiongen_dir, tmp_path):
    protocol = "fashiongen/subcategory"
    flags = ("--output_dir", tmp_path / "out", "--resamples", 200, "--data_name", "made-up", "--csv")
    printed = run(
        "evaluation",
        "--model",
        heads / "subcategory",
        "--protocol",
        protocol,
        "--data_dir",
        fashiongen_dir,
        *flags,
        "--cpu",
    )
    (result,) = read_results(tmp_path / "out" / "results.json")
    # 17 products with a label have 1, 2, 3, 1, 2, ... photos; each sub-category has as many photos as its places.
    photos = {}
    for number in range(17):
        label = f"{COLOURS[number % 3]} {KINDS[number % 2]}"
        photos[label] = photos.get(label, 0) + 1 + number % 3
    assert result["data"]["queries_per_category"] == photos and result["data"]["queries"] == sum(photos.values()) == 33
    assert result["data"]["classes"] == 6 and "33 queries, 6 classes" in printed
    majority, chance = result["controls"]["majority"], result["controls"]["chance"]
    most = max(photos.values())
    assert majority["accuracy"]["value"] == pytest.approx(100 * most / 33)
    assert majority["macro_f1"]["value"] == pytest.approx(100 * 2 * most / (33 + most) / 6)
    assert chance["accuracy"]["value"] == pytest.approx(100 / 6) and 8 < chance["macro_f1"]["value"] < 20
    figure = result["figures"]["accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    record = read_ranks(tmp_path / "out")[protocol]["model"]
    assert figure["value"] == pytest.approx(100 * np.mean(record.ranks == 0)) and record.ranks.max() < 6
    assert last_line(run("compare", tmp_path / "out", tmp_path / "out"))[protocol]["accuracy"]["value"] == 0


def test_missing_items_are_ranked_beside_their_image_features(heads, outfits_dir, tmp_path):
    flags = ("--output_dir", tmp_path / "out", "--resamples", 200)
    evaluated(heads / "FashionViLForOutfitRetrieval", "polyvore-outfits/ocir", outfits_dir, *flags)
    (result,) = read_results(tmp_path / "out" / "results.json")
    assert result["data"]["queries"] == 12 and set(result["data"]["gallery"].values()) == {20}
    assert set(result["controls"]) == {"image_only", "chance"}
    assert result["controls"]["chance"]["recall_at10"]["value"] == pytest.approx(50)
    assert {"value", "low", "high", "p"} == set(result["differences"]["model - image_only"]["average_recall"])
    assert "disjoint" in result["definition"]["description"] and len(result["data"]["fingerprint"]) == 64
    assert set(read_ranks(tmp_path / "out")["polyvore-outfits/ocir"]) == {"model", "image_only"}
    with pytest.raises(FileNotFoundError, match="ocir_nondisjoint"):
        evaluated(heads / "FashionViLForOutfitRetrieval", "polyvore-outfits/nondisjoint-ocir", outfits_dir)


def test_queries_are_read_by_picture_and_text_together(heads, fashioniq_dir, tmp_path):
    """By hand: the rank of one target, and the captions joined by a comma."""
    from PIL import Image

    from train.retrieval.composed_data import load_composed_set
    from train.retrieval.loading import load_model

    folder = heads / "FashionViLForComposition"
    evaluated(folder, "fashioniq/original-split", fashioniq_dir, "--output_dir", tmp_path / "out", "--resamples", 100)
    (result,) = read_results(tmp_path / "out" / "results.json")
    assert set(result["controls"]) == {"image_only", "text_only", "chance"}
    assert result["definition"]["captions"] == "caption1 and caption2 as annotated, joined by ', '"
    record = read_ranks(tmp_path / "out")["fashioniq/original-split"]["model"]
    # A model that joins the captions as CLIP4Cir answers the same queries, and so the two can be compared.
    assert record.data == load_composed_set("fashioniq", fashioniq_dir).fingerprint["digest"]
    rows = json.loads((fashioniq_dir / "captions" / "cap.dress.val.json").read_text())
    ids = json.loads((fashioniq_dir / "image_splits" / "split.dress.val.json").read_text())
    model, processor = load_model(str(folder))
    pictures = [Image.open(fashioniq_dir / "images" / f"{i}.jpg") for i in ids]
    with torch.no_grad():
        gallery = model.get_image_features(processor(images=pictures, return_tensors="pt")["pixel_values"])
        gallery = torch.nn.functional.normalize(gallery, dim=-1)
        for number, row in enumerate(rows[:3]):
            reference = Image.open(fashioniq_dir / "images" / f"{row['candidate']}.jpg")
            text = f"{row['captions'][0]}, {row['captions'][1]}"
            query = model.get_query_features(**processor(images=reference, text=text, return_tensors="pt"))
            scores = (query @ gallery.T)[0]
            expected = int((scores > scores[ids.index(row["target"])]).sum())
            assert record.ranks[record.query_ids.tolist().index(f"dress/{number}")] == expected


@pytest.mark.parametrize("head", ["FashionViLModel", "FashionViLForPreTraining", "FashionViLForRetrieval"])
def test_models_without_a_query_head_still_answer(head, heads, fashiongen_dir, cirr_dir, catalogue_dir):
    flags = ("--resamples", 100)
    assert evaluated(heads / head, "fashiongen/full", fashiongen_dir, *flags)["fashiongen/full"]["mean_recall"] > 0
    assert "group_recall_at1" in evaluated(heads / head, "cirr/val", cirr_dir, *flags)["cirr/val"]
    if head == "FashionViLForRetrieval":
        assert (
            "mean_recall"
            in evaluated(heads / head, "retrieval/same-title", catalogue_dir, *flags)["retrieval/same-title"]
        )
        pooled = evaluated(heads / head, "composed/pooled-noref", catalogue_dir, *flags)
        assert set(pooled["composed/pooled-noref"]) == {f"recall_at{k}" for k in (1, 5, 10, 50)}


def test_two_processes_classify_and_rank_like_one(heads, fashiongen_dir, outfits_dir, tmp_path):
    jobs = {
        "fashiongen/subcategory": (heads / "subcategory", fashiongen_dir),
        "polyvore-outfits/ocir": (heads / "FashionViLForOutfitRetrieval", outfits_dir),
    }
    for protocol, (model, data) in jobs.items():
        flags = ("--model", model, "--protocol", protocol, "--data_dir", data, "--batch_size", 8, "--resamples", 100)
        done = launched(
            "evaluation",
            *(*flags, "--cpu", "--output_dir", tmp_path / protocol / "two"),
            launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        )
        assert last_line(done.stdout) == last_line(run("evaluation", *flags, "--cpu"))


@pytest.mark.parametrize(
    ("head", "protocol", "needed"),
    [
        ("FashionViLForRetrieval", "fashiongen/category", "a FashionViLForClassification"),
        ("FashionViLForComposition", "polyvore-outfits/ocir", "a FashionViLForOutfitRetrieval"),
        ("FashionViLForOutfitRetrieval", "fashiongen/full", "such as FashionKLIPModel or FashionViLForRetrieval"),
        ("FashionViLForOutfitRetrieval", "fashioniq", "a CLIP4CirModel or a FashionViLForComposition"),
        ("FashionViLForOutfitRetrieval", "polyvore/fitb", "a Bi-LSTM"),
    ],
)
def test_a_model_that_cannot_serve_a_protocol_is_told_which_one_can(
    head, protocol, needed, heads, fashiongen_dir, fashioniq_dir, outfits_dir
):
    data = {"fashiongen": fashiongen_dir, "fashioniq": fashioniq_dir}.get(protocol.partition("/")[0], outfits_dir)
    with pytest.raises(ValueError, match=needed) as caught:
        evaluated(heads / head, protocol, data)
    assert f"is a {head}" in str(caught.value)


def test_labels_that_the_model_lacks_and_flags_without_use_are_refused(heads, fashiongen_dir, outfits_dir):
    with pytest.raises(ValueError, match="has the category 'clothes', and like all others it is none of the model's 6"):
        evaluated(heads / "subcategory", "fashiongen/category", fashiongen_dir)
    with pytest.raises(ValueError, match="has no use for --caption, --questions; leave it out"):
        flags = ("--caption", "title", "--questions", "typed")
        evaluated(heads / "subcategory", "fashiongen/subcategory", fashiongen_dir, *flags)
    with pytest.raises(ValueError, match="has no use for --dataset"):
        head = heads / "FashionViLForOutfitRetrieval"
        evaluated(head, "polyvore-outfits/ocir", outfits_dir, "--dataset", "fashioniq")
    with pytest.raises(ValueError, match="reads the layout fashiongen, not catalogue"):
        evaluated(heads / "subcategory", "fashiongen/subcategory", fashiongen_dir, "--dataset", "catalogue")
