"""The outfits program on a tiny Polyvore tree: what it writes is what search, algorithm and model say; errors help."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train import outfits
from train.engine.bilstm_arguments import OutfitData
from train.engine.outfits import load_outfits
from train.retrieval.outfit_bank import OutfitBank
from train.retrieval.outfit_generation import official_outfit
from train.retrieval.outfit_search import SearchOptions, search_outfits, text_nearness

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["red", "blue", "green", "shirt", "shoe", "bag"]
KINDS = ("shirts", "skirts", "shoes", "bags")
VISION = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
VISION |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}


def save_model(folder, sharpness=1, **changes):
    """`sharpness` above 1 makes the end so unlikely that the original's walks go on."""
    from modeling.bilstm import BiLSTMConfig, BiLSTMImageProcessor, BiLSTMModel, BiLSTMProcessor

    torch.manual_seed(4)
    sizes = {"embedding_dim": 8, "hidden_size": 8, "vocab_size": len(WORDS) + 1, "vision_config": VISION}
    model = BiLSTMModel(BiLSTMConfig(**sizes | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("vision_model"):
                parameter.normal_(std=0.6).mul_(sharpness if "head" in name else 1)
    model.save_pretrained(folder)
    BiLSTMProcessor(BiLSTMImageProcessor(size=16), WORDS).save_pretrained(folder)
    return folder


def paint(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((24, 30), Image.Resampling.NEAREST).save(path, quality=95)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """8 test outfits of the four kinds; 7_1 has the picture of 0_1."""
    root = tmp_path_factory.mktemp("polyvore")
    rows = []
    for number in range(8):
        entries = []
        for index, kind in enumerate(KINDS, 1):
            path = root / f"images/{number}/{index}.jpg"
            paint(path, 10 * number + index)
            entries.append({"index": index, "name": f"{WORDS[number % 3]} {kind[:-1]}", "categoryid": index})
        rows.append({"set_id": str(number), "name": "", "items": entries})
    shutil.copy(root / "images/0/1.jpg", root / "images/7/1.jpg")
    (root / "label").mkdir()
    (root / "label/test_no_dup.json").write_text(json.dumps(rows))
    (root / "label/category_id.txt").write_text("".join(f"{k} {kind}\n" for k, kind in enumerate(KINDS, 1)))
    return root


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.jpg"
    paint(path, 999)
    return path


@pytest.fixture(scope="module")
def bank(model_dir, tree, tmp_path_factory):
    from train.retrieval.loading import load_model

    data = load_outfits(OutfitData(str(tree)), "test", True)
    return OutfitBank(*load_model(str(model_dir)), data, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(model_dir, tree, tmp_path, capsys):
    """Run a command; returns results.json, the last line, and everything printed."""

    def run(command, *flags, model=model_dir, data=tree, folder="out"):
        given = ["--model", model, "--data_dir", data, "--output_dir", tmp_path / folder, "--cpu"]
        given += ["--feature_cache", tmp_path / "cache"]
        outfits.main([command, *map(str, [*given, *flags])])
        printed = capsys.readouterr().out
        return (
            json.loads((tmp_path / folder / "results.json").read_text()),
            json.loads(printed.splitlines()[-1]),
            printed,
        )

    return run


@pytest.fixture(scope="module")
def sharp(tree, tmp_path_factory):
    """Folder of a model with which the original's algorithm makes more than the query, and its bank."""
    from train.retrieval.loading import load_model

    folder = save_model(tmp_path_factory.mktemp("sharp"), sharpness=12)
    data = load_outfits(OutfitData(str(tree)), "test", True)
    return folder, OutfitBank(*load_model(str(folder)), data, tmp_path_factory.mktemp("cache"))


def ids(bank, places):
    return [bank.data.ids[place] for place in places]


def searched(bank, query, text=None, **options):
    places = [bank.data.ids.index(name) for name in query]
    words = [WORDS.index(word) + 1 for word in text.split()] if text else []
    nearness = text_nearness(bank.model, bank.features.images, bank.bank, words)
    arguments = (bank.model, bank.features.items, places, bank.bank, bank.data.identities, bank.slots())
    return search_outfits(*arguments, nearness=nearness, options=SearchOptions(**options))[0]


def test_generate_writes_what_the_search_finds(call, bank, tmp_path):
    results, last, _ = call("generate", "--images", "2_1", "4_3", "--end_probability", "0.3")
    (found,) = results["results"]
    wanted = searched(bank, ["2_1", "4_3"], end_probability=0.3)
    assert found["outfit"] == ids(bank, wanted.places) and {"2_1", "4_3"} < set(found["outfit"])
    assert found["score"] == pytest.approx(wanted.score, abs=1e-4) and found["stopped"] == wanted.stopped
    assert found["forward"] + found["backward"] == pytest.approx(found["score"], abs=1e-5)
    assert last == {**last, "outfits": 1, "failed_queries": 0, "scores": [round(found["score"], 4)]}
    assert results["data"] == {"dataset": "polyvore", "split": "test", "items": 32, "products": 31}
    categories = [bank.data.categories[bank.data.ids.index(item)] for item in found["outfit"]]
    assert len(set(categories)) == len(categories)
    picture = Image.open(tmp_path / "out" / found["picture"])
    assert picture.mode == "RGB" and picture.width > 240 * len(found["outfit"])
    assert (9, 105, 218) in {color for _, color in picture.getcolors(2**24)}  # the frame of what was given


def test_given_items_and_photos_may_stand_in_any_order(call, photo):
    one, _, _ = call("generate", "--images", "2_1", "4_3", "--photos", photo, folder="a")
    other, _, _ = call("generate", "--images", "4_3", "2_1", "--photos", photo, folder="b")
    (first,), (second,) = one["results"], other["results"]
    assert first["outfit"] == second["outfit"] and first["score"] == second["score"]
    assert str(photo) in first["outfit"] and first["query"] == ["2_1", "4_3", str(photo)]


def test_same_category_allows_more_items_of_one_but_no_product_twice(call, bank):
    flags = ("generate", "--images", "0_2", "--max_items", 8, "--end_probability", 1)
    results, _, _ = call(*flags, "--same_category")
    chosen = results["results"][0]["outfit"]
    products = {bank.data.identities[bank.data.ids.index(item)] for item in chosen}
    assert len(products) == len(chosen) == 8 and results["results"][0]["stopped"] == "max_items"
    ruled, _, _ = call(*flags, folder="ruled")
    assert len(ruled["results"][0]["outfit"]) == 4 and ruled["results"][0]["stopped"] == "no candidates"


def test_text_takes_part_and_unknown_words_are_named(call, bank):
    flags = ("generate", "--images", "1_1", "--end_probability", "0.9", "--text_weight", "50")
    plain, _, _ = call(*flags, folder="plain")
    told, _, printed = call(*flags, "--text", "blue zebra shoe", folder="told")
    wanted = searched(bank, ["1_1"], "blue shoe", end_probability=0.9, text_weight=50)
    assert told["results"][0]["outfit"] == ids(bank, wanted.places)
    assert told["results"][0]["outfit"] != plain["results"][0]["outfit"]
    assert told["results"][0]["unknown_words"] == ["zebra"] and "does not know: zebra" in printed
    assert told["results"][0]["text"] == "blue zebra shoe"
    lost, _, printed = call(*flags, "--text", "zebra yak", folder="lost")
    assert lost["results"][0]["outfit"] == plain["results"][0]["outfit"]
    assert lost["results"][0]["unknown_words"] == ["zebra", "yak"] and "it changes nothing" in printed


def test_all_queries_of_a_file_are_answered(call, tmp_path):
    queries = [{"image_query": ["1_1"], "text_query": ""}, {"image_query": ["3_2", "2_4"], "text_query": "red"}]
    (tmp_path / "query.json").write_text(json.dumps(queries))
    results, last, _ = call("generate", "--queries", tmp_path / "query.json", "--alternatives", 2)
    assert [r["query"] for r in results["results"]] == [["1_1"]] * 2 + [["3_2", "2_4"]] * 2 and last["outfits"] == 4
    names = ["outfit-1-1.png", "outfit-1-2.png", "outfit-2-1.png", "outfit-2-2.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == names
    call("generate", "--images", "1_1", "--overwrite")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["outfit-1.png"]


@pytest.mark.parametrize("text", ["", "red shoe", "zebra", "RED"])
@pytest.mark.parametrize("query", [["4_1"], ["6_1", "5_1"], ["2_3", "3_2", "0_4"]])  # no, one and one blank
def test_official_generation_is_the_originals(call, sharp, query, text):
    flags = ["--text", text] if text else []
    folder, bank = sharp
    places = [bank.data.ids.index(name) for name in query]
    words = [k for k, word in enumerate(WORDS, 1) if word in text.split()] if text else None
    features = bank.features
    wanted = official_outfit(bank.model, features.items, features.images, places, words)
    assert len(wanted.outfit) > len(query)
    results, _, printed = call("generate", "--official_generation", "--images", *query, *flags, model=folder)
    (found,) = results["results"]
    assert found["outfit"] == ids(bank, wanted.outfit if wanted.outfit_text is None else wanted.outfit_text)
    if text in ("zebra", "RED"):  # the original knows no upper case
        assert set(found["outfit"]) <= {"0_1", *query} and found["unknown_words"] == [text]
        assert "takes the first item everywhere" in printed


def test_where_the_original_crashes_its_error_is_the_result(call, tmp_path):
    twice = ["0_1", "7_1"]  # one picture: both are nearest to one item
    with pytest.raises(ValueError, match="fails on every query.*negative number of blanks"):
        call("generate", "--official_generation", "--images", *twice)
    (tmp_path / "query.json").write_text(
        json.dumps([{"image_query": twice, "text_query": ""}, {"image_query": ["5_1"], "text_query": ""}])
    )
    flags = ("--queries", tmp_path / "query.json", "--overwrite")
    results, last, printed = call("generate", "--official_generation", *flags)
    assert "negative number" in results["results"][0]["error"] and "query.json, query 1: the original" in printed
    assert results["results"][1]["outfit"] and last["failed_queries"] == 1 and last["outfits"] == 1


@pytest.mark.parametrize("position", [1, 2, 3])
def test_complete_ranks_the_bank_as_the_model_does(call, model_dir, tree, photo, position, tmp_path):
    from train.retrieval.loading import load_model

    results, last, _ = call("complete", "--outfit", photo, "3_2", "--blank_position", position, "--top_k", 5)
    (found,) = results["results"]
    model, processor = load_model(str(model_dir))
    data = load_outfits(OutfitData(str(tree)), "test", True)
    bank = OutfitBank(model, processor, data, tmp_path / "cache")
    mine = bank.add_photos([str(photo)])[0]
    outfit = [mine, bank.data.ids.index("3_2")]
    candidates = [p for p in range(31) if bank.data.categories[p] != "skirts" and bank.data.ids[p] != "7_1"]
    items = bank.features.items
    scores = model.score_candidates(
        items[outfit][None], torch.tensor([2]), torch.tensor([position]), items[[*candidates, 31]][None]
    )[0]
    order = scores.argsort(descending=True)[:5].tolist()
    assert [answer["id"] for answer in found["answers"]] == ids(bank, [[*candidates, 31][k] for k in order])
    assert [answer["probability"] for answer in found["answers"]] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert last["answers"] == [answer["id"] for answer in found["answers"]]
    assert Image.open(tmp_path / "out" / "outfit-1.png").height > 2 * 240


def test_candidates_can_be_narrowed_by_category_and_slot(call, bank, tmp_path):
    def kinds(*flags, folder):
        results, _, _ = call("complete", "--outfit", "3_3", "--blank_position", 1, "--top_k", 40, *flags, folder=folder)
        answers = [answer["id"] for answer in results["results"][0]["answers"]]
        return {bank.data.categories[bank.data.ids.index(item)] for item in answers}, len(answers)

    assert kinds("--categories", "bags", folder="a") == ({"bags"}, 8)
    assert kinds("--same_category", folder="b") == (set(KINDS), 30)
    (tmp_path / "slots.json").write_text(json.dumps({"worn below": ["shoes", "skirts", "kilts"]}))
    assert kinds("--slots", tmp_path / "slots.json", folder="c") == ({"shirts", "bags"}, 15)
    flags = ("--images", "3_3", "--end_probability", 1, "--slots", tmp_path / "slots.json")
    outfit, _, printed = call("generate", *flags)
    assert "no item has the category kilts" in printed
    found = {item[-1] for item in outfit["results"][0]["outfit"]}
    assert found == {"3", "1", "4"} and len(outfit["results"][0]["outfit"]) == 3


def test_categories_that_training_outfits_keep_apart_are_one_slot(call, tree, tmp_path):
    data = shutil.copytree(tree, tmp_path / "tree")
    # Outfits by the category ids of their items: skirts (2) and shoes (3) never meet, shirts and bags are in all.
    kinds = [[1, 2, 4]] * 40 + [[1, 3, 4]] * 40 + [[1, 4]] * 20
    outfits = [
        {"set_id": f"t{n}", "items": [{"index": k, "name": "", "categoryid": kind} for k, kind in enumerate(own)]}
        for n, own in enumerate(kinds)
    ]
    (data / "label/train_no_dup.json").write_text(json.dumps(outfits))

    def worn(*flags, folder):
        results, _, printed = call(
            "generate", "--images", "0_3", "--end_probability", 1, *flags, data=data, folder=folder
        )
        return {item[-1] for item in results["results"][0]["outfit"]}, results["slots"], printed

    found, slots, printed = worn(folder="a")
    assert found == {"1", "3", "4"} and slots == {"shoes / skirts": ["shoes", "skirts"]}
    assert "slots of 100 train outfits: shoes / skirts" in printed
    assert worn("--category_slots", folder="b")[:2] == ({"1", "2", "3", "4"}, {})
    answers, _, _ = call("complete", "--outfit", "0_3", "--blank_position", 1, "--top_k", 40, data=data, folder="c")
    assert {answer["id"][-1] for answer in answers["results"][0]["answers"]} == {"1", "4"}
    with pytest.raises(ValueError, match="--category_slots and --same_category contradict each other"):
        worn("--category_slots", "--same_category", folder="d")


def test_score_is_the_models_beside_the_datas_own_outfits(call, bank, photo, tree, tmp_path):
    shutil.copy(photo, tmp_path / "mine.jpg")
    lists = [["0_1", "1_2", "2_3"], ["mine.jpg", "1_2"], [str(tree / "images/0/1.jpg"), "1_2", "2_3"]]
    lists += [[f"{number}_{index}" for index in range(1, 5)] for number in range(8)]
    (tmp_path / "outfits.json").write_text(json.dumps(lists))
    results, last, _ = call("score", "--outfits", tmp_path / "outfits.json")
    first, second, third, *others = results["results"]
    rows = bank.features.items[[bank.data.ids.index(item) for item in lists[0]]]
    distinct = bank.features.items[bank.bank]
    scores = bank.model.score_outfits(rows[None], torch.tensor([3]), distinct)
    assert first["score"] == pytest.approx(float(scores["forward"] + scores["backward"]), abs=1e-4)
    assert third["score"] == pytest.approx(first["score"], abs=1e-4) and second["score"] != first["score"]
    own = []
    for outfit in bank.data.outfits:
        scores = bank.model.score_outfits(bank.features.items[outfit][None], torch.tensor([len(outfit)]), distinct)
        own.append(float(scores["forward"] + scores["backward"]))
    assert first["better_than_percent"] == 100 * sum(score < first["score"] for score in own) / 8
    assert sorted(other["better_than_percent"] for other in others) == [12.5 * place for place in range(8)]
    assert results["compared"] == 8 and last["scores"] == [round(r["score"], 4) for r in results["results"]]
    assert len(list((tmp_path / "out").glob("outfit-*.png"))) == 11


def test_an_own_catalogue_serves_as_well(call, tmp_path):
    shop = tmp_path / "shop"
    for number in range(9):
        paint(shop / f"images/p{number}.jpg", 500 + number)
    rows = [{"id": f"p{n}", "title": f"thing {n}", "kind": KINDS[n % 3]} for n in range(9)]
    (shop / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = ("--dataset", "catalogue", "--category_column", "kind", "--end_probability", 1)
    results, _, _ = call("generate", "--images", "p4", *flags, data=shop)
    found = results["results"][0]["outfit"]
    assert "p4" in found and sorted(int(item[1]) % 3 for item in found) == [0, 1, 2]
    with pytest.raises(ValueError, match="no column 'category' among .*kind.*--category_column"):
        call("generate", "--images", "p4", "--dataset", "catalogue", data=shop, folder="b")


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("generate", ["--images", "2_l"], r"--images 2_l: .* no such item among its 32; the nearest id is 2_\d"),
        ("generate", ["--photos", "ghost.jpg"], "ghost.jpg"),
        ("generate", ["--photos", "BROKEN"], "broken.jpg.*not an image"),
        ("generate", ["--images", "0_1", "7_1"], "0_1 and 7_1 are one product"),
        ("generate", ["--images", "0_1", "0_1"], "0_1 and 0_1 are one product"),
        ("generate", ["--images", "0_1", "1_1", "--max_items", "1", "--min_items", "1"], "2 pictures are given"),
        ("generate", ["--images", "0_1", "--categories", "shoe"], "'shoe': no item .* the nearest is 'shoes'"),
        ("generate", ["--images", "0_1", "--slots", "SLOTS"], r"'hats': no item has this category"),
        ("generate", ["--images", "0_1", "--slots", "SLOTS", "--same_category"], "contradict each other"),
        ("generate", ["--images", "0_1", "--slots", "QUERIES"], "--slots .*expected"),
        ("generate", ["--queries", "QUERIES"], "query 2: expected .* with one picture at least"),
        ("generate", ["--queries", "ghost.json"], "--queries ghost.json: no such file"),
        ("complete", ["--outfit", "ghost.jpg", "--blank_position", "1"], "--outfit ghost.jpg: no such photo"),
        ("complete", ["--outfit", "9_9", "--blank_position", "1"], "no such item .* the nearest id is"),
        ("complete", ["--outfit", "0_1", "--categories", "shirts", "--blank_position", "1"], "leave no item"),
        ("score", ["--outfit", "0_1", "BROKEN"], "outfit 1: .*broken.jpg"),
        ("score", ["--outfits", "QUERIES"], "outfit 1: expected a list of photo files or ids"),
    ],
)
def test_what_a_user_can_get_wrong_is_named(call, command, flags, message, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "slots.json").write_text('{"head": ["hats"]}')
    (tmp_path / "queries.json").write_text('[{"image_query": ["0_1"], "text_query": ""}, {"image_query": []}]')
    files = {"BROKEN": "broken.jpg", "SLOTS": "slots.json", "QUERIES": "queries.json"}
    flags = [tmp_path / files[flag] if flag in files else flag for flag in flags]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(command, *flags)
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("generate", [], "made around a picture: give --images"),
        ("generate", ["--text", "red"], "made around a picture: give --images"),
        ("generate", ["--queries", "q.json", "--images", "0_1"], "--queries FILE replaces"),
        ("generate", ["--official_generation", "--photos", "a.jpg"], "leave out --photos"),
        ("generate", ["--images", "0_1", "--max_items", "2"], "--min_items 3 is above --max_items 2"),
        ("complete", ["--outfit", "0_1"], "--blank_position, 1 to 2"),
        ("complete", ["--outfit", "0_1", "--blank_position", "3"], "the whole outfit has 2 places"),
        ("complete", [], "nothing to complete"),
        ("score", [], "--outfit, or several outfits with --outfits"),
        ("generate", ["--imags", "0_1"], "did you mean --images"),
        ("paint", [], "must be `generate`, `complete` or `score`, not 'paint'"),
    ],
)
def test_flags_that_do_not_fit_stop_before_anything_is_read(command, flags, message, capsys):
    with pytest.raises(SystemExit):
        outfits.main([command, "--model", "none", "--data_dir", "none", "--output_dir", "none", *flags])
    assert message in capsys.readouterr().err


def test_models_that_cannot_do_it_are_refused(call, tmp_path):
    flags = ("generate", "--images", "0_1")
    with pytest.raises(ValueError, match="variant 'vse', which has no recurrent networks"):
        call(*flags, model=save_model(tmp_path / "vse", variant="vse"))
    with pytest.raises(ValueError, match="no image network"):
        call(*flags, model=save_model(tmp_path / "features", vision_config=None, vision_feature_dim=4))
    plain = save_model(tmp_path / "plain", variant="bilstm-no-vse")
    with pytest.raises(ValueError, match="'bilstm-no-vse', whose word table is untrained"):
        call(*flags, "--text", "red", model=plain)
    call(*flags, model=plain)
    with pytest.raises(FileExistsError, match="is not empty.*--overwrite"):
        call(*flags, model=plain)


def test_a_model_that_reads_names_needs_no_pictures(call, tree, photo, tmp_path):
    model = save_model(tmp_path / "named", variant="bilstm-no-vse", item_inputs="text", vision_config=None)
    labels = tmp_path / "labels"
    shutil.copytree(tree / "label", labels / "label")
    results, _, _ = call("generate", "--images", "1_1", model=model, data=labels)
    assert "1_1" in results["results"][0]["outfit"] and Image.open(tmp_path / "out" / "outfit-1.png")
    with pytest.raises(ValueError, match="reads the items' names"):
        call("generate", "--photos", photo, model=model, data=labels, folder="b")


def test_help_and_flags_do_not_wait_for_torch():
    code = "import sys, train.outfits; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
