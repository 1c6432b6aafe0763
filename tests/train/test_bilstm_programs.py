"""Training and evaluation of the outfit models: variants, resume, processes, the 2017 recipe, fusion, bad input."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from data_scripts.polyvore_records import encode_outfit, read_outfit_records, write_outfit_records
from data_scripts.tfrecords import write_records
from train import bilstm_evaluate, bilstm_train, compare, evaluation
from train.bilstm_evaluate import best_weights
from train.engine.cards import read_results
from train.engine.outfits import own_vocabulary
from train.retrieval.outfit_protocols import blank_result, compatibility_result, fused
from train.retrieval.outfit_scores import area_under_curve

from .conftest import ROOT, finish, killed_run, losses, records, run_here, start, validations

PROGRAM = "train/bilstm_train.py"
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "black": (20, 20, 20)}
KINDS = ("shirt", "skirt", "shoe", "bag")


def make_tree(folder, outfits: dict[str, int], seed: int = 0):
    """Polyvore outfits of one colour each: a rule that pictures and names both show."""
    rng = np.random.default_rng(seed)
    label = folder / "label"
    label.mkdir(parents=True)
    number = 0
    for split, count in outfits.items():
        rows, keys = [], []
        for _ in range(count):
            number += 1
            colour = list(COLOURS)[int(rng.integers(4))]
            items = []
            for index, kind in enumerate(KINDS[: int(rng.integers(3, 5))], 1):
                path = folder / "images" / str(number) / f"{index}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((20, 16, 3), COLOURS[colour]) + rng.integers(-15, 15, (20, 16, 3)) + 8 * index
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
                item = {"index": index, "name": f"{colour} {kind}", "price": 1.0, "likes": 0}
                items.append(item | {"categoryid": index + 10})
            rows.append({"set_id": str(number), "name": "", "views": 0, "likes": 0, "items": items})
            keys.append((colour, [f"{number}_{item['index']}" for item in items]))
        (label / f"{split}_no_dup.json").write_text(json.dumps(rows))
        write_questions(label, split, keys, rng)
    (label / "category_id.txt").write_text("".join(f"{k + 11} {kind}\n" for k, kind in enumerate(KINDS)))
    return folder


def write_questions(label, split: str, keys: list, rng) -> None:
    """The second item is missing; wrong answers are second items of other colours."""
    blanks, lines = [], []
    for colour, items in keys:
        others = [own[1] for other, own in keys if other != colour]
        wrong = [others[int(k)] for k in rng.integers(0, len(others), 3)]
        question = [items[0], *items[2:]]
        blanks.append({"question": question, "blank_position": 2, "answers": [items[1], *wrong]})
        lines += ["1 " + " ".join(items), "0 " + " ".join([items[0], wrong[0], *items[2:]])]
    (label / f"fill_in_blank_{split}.json").write_text(json.dumps(blanks))
    (label / f"fashion_compatibility_prediction_{split}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("polyvore"), {"train": 48, "valid": 16, "test": 16})


@pytest.fixture(scope="module")
def flags(tree, tmp_path_factory) -> list[str]:
    flags = ["--data_dir", str(tree), "--inception", "--inception_multiplier", "0.03", "--image_size", "75", "--cpu"]
    flags += ["--embedding_dim", "12", "--hidden_size", "10", "--epochs", "2", "--batch_size", "8"]
    return [*flags, "--min_word_count", "1", "--feature_cache", str(tmp_path_factory.mktemp("features"))]


def train(flags, folder, *more: str):
    return run_here(bilstm_train, *flags, *more, "--output_dir", str(folder))


def steps(folder) -> list[dict]:
    return [record for record in records(folder) if "loss" in record]


@pytest.fixture(scope="module")
def models(flags, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("models")
    return {
        variant: train(flags, folder / variant, "--variant", variant)
        for variant in ("bilstm", "bilstm-no-vse", "vse", "siamese")
    }


def test_every_variant_trains_with_its_own_losses_and_loads_again(models, tree) -> None:
    own = {
        "bilstm": {"vse_loss", "forward_loss", "backward_loss"},
        "bilstm-no-vse": {"forward_loss", "backward_loss"},
        "vse": {"vse_loss"},
        "siamese": {"siamese_loss"},
    }
    from transformers import AutoModel, AutoProcessor

    photo = Image.open(next((tree / "images").rglob("*.jpg")))
    for variant, folder in models.items():
        logged = steps(folder)
        assert len(logged) == 12
        assert {name for name in logged[0] if name.endswith("_loss") and name != "loss"} == own[variant]
        assert logged[0]["loss"] == pytest.approx(sum(logged[0][name] for name in own[variant]), rel=1e-5)
        assert {"validation/fill_in_blank_accuracy", "validation/compatibility_auc"} <= validations(folder)[0].keys()
        model = AutoModel.from_pretrained(folder / "model")
        processor = AutoProcessor.from_pretrained(folder / "model")
        assert model.config.variant == variant
        features = model.get_image_features(**processor(images=[photo], return_tensors="pt"))
        assert features.shape == (1, 12)


def test_it_learns_the_rule_of_the_outfits(flags, tmp_path) -> None:
    """Names show the colour; an outfit has one."""
    folder = train(
        [*flags, "--item_inputs", "text", "--variant", "bilstm-no-vse"],
        tmp_path / "run",
        *["--epochs", "24", "--learning_rate", "0.02", "--recurrent_dropout", "0"],
        *["--embedding_dim", "64", "--hidden_size", "64", "--weight_decay", "0"],
    )
    assert validations(folder)[-1]["validation/fill_in_blank_accuracy"] > 95
    assert validations(folder)[-1]["validation/compatibility_auc"] > 0.95


def test_a_killed_run_resumes_to_the_same_bits(flags, tmp_path) -> None:
    flags = [*flags, "--epochs", "20", "--checkpoint_steps", "2", "--checkpoint_seconds", "1000"]
    whole = train(flags, tmp_path / "whole")
    cut = killed_run(PROGRAM, flags, tmp_path / "cut", at_step=5, steps=len(losses(whole)))
    train(flags, cut, "--resume")
    assert losses(cut) == losses(whole) and validations(cut) == validations(whole)
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_pictures_can_be_trained_end_to_end(flags, tmp_path) -> None:
    flags = [*flags, "--train_vision", "--epochs", "3", "--save", "last"]
    folder = train(flags, tmp_path / "run")
    frozen = load_file(train([*flags[:-5], "--save", "last"], tmp_path / "frozen") / "model/model.safetensors")
    trained = load_file(folder / "model/model.safetensors")
    kernel, mean = "vision_model.Conv2d_1a_3x3.conv.weight", "vision_model.Conv2d_1a_3x3.bn.running_mean"
    assert (trained[kernel] != frozen[kernel]).any() and (trained[mean] != frozen[mean]).any()
    mean_loss = [np.mean([r["loss"] for r in steps(folder)][start : start + 6]) for start in (0, 12)]
    assert mean_loss[1] < mean_loss[0]


@pytest.fixture(scope="module")
def shards(tree, tmp_path_factory):
    """The tree's training and validation outfits as the original's TFRecord shards."""
    folder, words = tmp_path_factory.mktemp("shards"), {word: k for k, word in enumerate((*COLOURS, *KINDS), 1)}
    for split in ("train", "valid"):
        outfits = json.loads((tree / f"label/{split}_no_dup.json").read_text())
        write_outfit_records(outfits, tree / "images", words, folder, split, shards=8)
    return folder


@pytest.mark.parametrize("more", [[], ["--train_vision"]])
def test_shards_train_like_the_tree_that_they_were_written_from(more, flags, tree, shards, tmp_path) -> None:
    flags = [*flags, *more, "--epochs", "1", "--feature_cache"]
    whole = train([*flags, tmp_path / "cache"], tmp_path / "tree")
    labels = tmp_path / "labels"
    shutil.copytree(tree / "label", labels / "label")  # no photos beside the shards
    flags = [*flags, tmp_path / "other", "--data_dir", labels, "--records", shards]
    folder = train(flags, tmp_path / "shards")
    assert len(losses(folder)) == 6 and losses(folder) == losses(whole)
    assert validations(folder) == validations(whole)
    assert (folder / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_shards_and_questions_that_do_not_fit_are_named(flags, tree, shards, tmp_path) -> None:
    def run(*more):
        return train([*flags, "--records", tmp_path / "records", *more], tmp_path / "run", "--overwrite")

    shutil.copytree(shards, tmp_path / "records")
    lost = tmp_path / "records/train-no-dup-00005-of-00008"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(FileNotFoundError, match="1 of 8 shards are missing: train-no-dup-00005-of-00008"):
        run()
    lost.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="train-no-dup-00005-of-00008: record 5 at byte .* the file ends at"):
        run()
    lost.write_bytes(content)
    write_records(tmp_path / "records/valid-no-dup-00003-of-00008", [])
    with pytest.raises(ValueError, match="questions of .* name items that the shards of .* lack: .*--missing skip"):
        run()
    assert validations(run("--missing", "skip", "--epochs", "1"))
    # A picture that is damaged inside a whole record is named by its item.
    record = next(read_outfit_records([lost]))
    record.images[0] = record.images[0][:200]
    write_records(lost, [encode_outfit(record)])
    name = f"{record.set_id}_{record.image_index[0]}"
    with pytest.raises(ValueError, match=name):
        run("--missing", "skip", "--feature_cache", tmp_path / "cache")
    with pytest.raises(ValueError, match=name):
        run("--missing", "skip", "--train_vision")


@pytest.mark.parametrize("variant", ["bilstm", "siamese"])
def test_two_processes_train_like_one(variant, flags, tmp_path) -> None:
    flags = [*flags, "--variant", variant, "--epochs", "1", "--learning_rate", "1e-12", "--max_grad_norm", "1e9"]
    flags += ["--recurrent_dropout", "0"]
    one = train(flags, tmp_path / "one")
    two = tmp_path / "two"
    finish(start(PROGRAM, *flags, "--output_dir", two, processes=2))
    for first, second in zip(steps(one), steps(two), strict=True):
        names = [name for name in first if name.endswith("loss") or name == "grad_norm"]
        assert len(names) >= 3
        assert [second[n] for n in names] == pytest.approx([first[n] for n in names], rel=1e-4)
    assert validations(two)[0] == pytest.approx(validations(one)[0], rel=1e-4)


def test_the_recipe_of_2017_clips_and_halves_its_rate(flags, tmp_path) -> None:
    recipe = ["--config", str(ROOT / "train/recipes/bilstm_train/official.yaml"), "--max_grad_norm", "0.5"]
    flags = [*flags, "--epochs", "6", "--decay_epochs", "2", "--recurrent_dropout", "0"]
    folder = train([*recipe, *flags], tmp_path / "run")
    logged = steps(folder)
    rates = [record["learning_rate"] for record in logged]
    assert rates[0] == pytest.approx(0.2) and rates[-1] == pytest.approx(0.05)
    assert all(record["grad_norm"] > 0.5 for record in logged[:3])
    settings = json.loads((folder / "model/config.json").read_text())
    assert settings["official_end_columns"] and settings["official_siamese_pairs"]


def evaluate(folder, *models, more=()) -> dict[str, dict]:
    names = [str(model / "model") for model in models]
    run_here(bilstm_evaluate, "--model", *names, "--output_dir", str(folder), "--cpu", *map(str, more))
    return {one["protocol"]: one for one in json.loads((folder / "results.json").read_text())["results"]}


def test_questions_are_answered_beside_controls_and_models_are_fused(models, tree, tmp_path) -> None:
    more = ["--data_dir", tree, "--feature_cache", tmp_path / "cache", "--resamples", "200"]
    alone = evaluate(tmp_path / "alone", models["bilstm"], more=more)
    result = alone["polyvore/fitb"]
    assert result["controls"].keys() == {"chance", "popularity", "categories"}
    assert result["controls"]["chance"]["fill_in_blank_accuracy"]["value"] == 25
    figure = result["figures"]["fill_in_blank_accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"] and result["counts"]["questions"] == 16
    single = [np.load(tmp_path / "alone/scores.npz")]
    for name in ("vse", "siamese"):
        evaluate(tmp_path / name, models[name], more=more)
        single.append(np.load(tmp_path / name / "scores.npz"))
    members = [models[name] for name in ("bilstm", "vse", "siamese")]
    weights = (2.0, 1.0, 1.0)
    fusion = evaluate(tmp_path / "fusion", *members, more=[*more, "--weights", *weights])
    scores = np.load(tmp_path / "fusion/scores.npz")
    for key, blanks in (("fill_in_blank", True), ("compatibility", False)):
        np.testing.assert_allclose(scores[key], fused([one[key] for one in single], weights, blanks), rtol=1e-5)
    assert fusion["polyvore/fitb"]["weights"] == list(weights)
    fitted = evaluate(tmp_path / "fitted", *members, more=[*more, "--fit_weights"])
    for protocol in ("polyvore/fitb", "polyvore/compatibility"):
        assert sum(fitted[protocol]["weights"]) == pytest.approx(1)


def test_two_models_are_compared_on_the_same_questions(models, tree, tmp_path, capsys, monkeypatch) -> None:
    more = ["--data_dir", tree, "--feature_cache", tmp_path / "cache", "--resamples", "100"]
    results = {name: evaluate(tmp_path / name, models[name], more=more) for name in ("bilstm", "vse")}

    def compared(*arguments) -> dict:
        monkeypatch.setattr("sys.argv", ["compare", *map(str, arguments)])
        capsys.readouterr()
        compare.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    report = compared(tmp_path / "bilstm", tmp_path / "vse/scores.npz", "--resamples", 2000)
    assert report.keys() == {"polyvore/fitb", "polyvore/compatibility"}
    for protocol, figures in report.items():
        for metric, found in figures.items():
            values = [results[name][protocol]["figures"][metric]["value"] for name in ("bilstm", "vse")]
            assert found["value"] == pytest.approx(values[0] - values[1])
            assert found["low"] <= found["value"] <= found["high"] and 0 < found["p"] <= 1
    same = compared(tmp_path / "vse", tmp_path / "vse")["polyvore/compatibility"]["compatibility_auc"]
    assert same == {"value": 0, "low": 0, "high": 0, "p": 1}

    scores = dict(np.load(tmp_path / "vse/scores.npz"))
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other/scores.npz", **scores | {"data": np.asarray("0123456789")})
    (tmp_path / "old").mkdir()
    np.savez(tmp_path / "old/scores.npz", **{name: value for name, value in scores.items() if name != "data"})
    (tmp_path / "ranks.npz").write_bytes(b"")
    for second, message in (
        (tmp_path / "other", "answered different questions .*0123456789"),
        (tmp_path / "old", "evaluate the model again"),
        (tmp_path / "ranks.npz", "cannot be compared"),
        (tmp_path / "none/scores.npz", "not found"),
    ):
        with pytest.raises(SystemExit, match=message):
            compared(tmp_path / "vse", second)


def test_the_evaluation_program_has_the_figures_of_bilstm_evaluate(models, tree, tmp_path) -> None:
    more = ["--data_dir", tree, "--resamples", "200"]
    wanted = evaluate(tmp_path / "own", models["bilstm"], more=more)

    def run(protocol, name, *flags):
        given = ["--model", models["bilstm"] / "model", "--protocol", protocol, "--cpu", *more, *flags]
        run_here(evaluation, *given, "--output_dir", tmp_path / name)
        return read_results(tmp_path / name / "results.json")  # as the model card reads them

    found = run("polyvore", "both", "--csv", "--data_name", "made-up")
    assert [result["protocol"] for result in found] == ["polyvore/fitb", "polyvore/compatibility"]
    for result in found:
        assert result["data"].pop("name") == "made-up"
        assert result == wanted[result["protocol"]]
    assert (tmp_path / "both/results.csv").read_text().count("\n") == 1 + 2 * 4
    own, scores = (np.load(tmp_path / name / "scores.npz") for name in ("own", "both"))
    assert all(np.array_equal(own[name], scores[name]) for name in own)
    # One protocol needs the files of its own questions alone.
    labels = tmp_path / "tree"
    shutil.copytree(tree, labels)
    for file in labels.glob("label/*compatibility*"):
        file.unlink()
    more[1] = labels
    (alone,) = run("polyvore/fitb", "fitb")
    assert alone["figures"] == wanted["polyvore/fitb"]["figures"]
    with pytest.raises(FileNotFoundError, match="no questions of test"):
        run("polyvore/compatibility", "compatibility")
    with pytest.raises(ValueError, match="polyvore/fitb has no use for --candidates, --mixed_precision"):
        run("polyvore/fitb", "more", "--candidates", "x.json", "--mixed_precision", "bf16")
    with pytest.raises(ValueError, match="polyvore-outfits/fitb has one set of questions"):
        run("polyvore-outfits/fitb", "typed", "--questions", "typed")
    with pytest.raises(FileNotFoundError, match="polyvore_outfits"):
        run("polyvore-outfits/disjoint-fitb", "outfits")


def test_polyvore_outfits_has_protocols_of_its_own(models, tree, tmp_path) -> None:
    """The tree in the other layout: the same figures under the names of the other data set."""
    root = tmp_path / "polyvore_outfits"
    (root / "nondisjoint").mkdir(parents=True)
    (root / "images").mkdir()
    metadata = {}
    for split in ("train", "test"):
        outfits = json.loads((tree / f"label/{split}_no_dup.json").read_text())
        rows = []
        for outfit in outfits:
            items = []
            for item in outfit["items"]:
                key = f"{outfit['set_id']}_{item['index']}"
                shutil.copy(tree / f"images/{outfit['set_id']}/{item['index']}.jpg", root / f"images/{key}.jpg")
                metadata[key] = {"title": item["name"], "category_id": str(item["categoryid"])}
                items.append({"item_id": key, "index": item["index"]})
            rows.append({"set_id": outfit["set_id"], "items": items})
        (root / f"nondisjoint/{split}.json").write_text(json.dumps(rows))
    (root / "polyvore_item_metadata.json").write_text(json.dumps(metadata))
    (root / "polyvore_outfit_titles.json").write_text("{}")
    (root / "categories.csv").write_text("".join(f"{k},{kind},{kind}\n" for k, kind in enumerate(KINDS, 11)))
    shutil.copy(tree / "label/fill_in_blank_test.json", root / "nondisjoint")
    lines = tree / "label/fashion_compatibility_prediction_test.txt"
    shutil.copy(lines, root / "nondisjoint/compatibility_test.txt")

    def run(protocol, data, name):
        given = ["--model", models["bilstm"] / "model", "--protocol", protocol, "--data_dir", data, "--cpu"]
        run_here(evaluation, *given, "--resamples", "200", "--output_dir", tmp_path / name)
        return json.loads((tmp_path / name / "results.json").read_text())["results"]

    wanted, found = run("polyvore", tree, "maryland"), run("polyvore-outfits", root, "outfits")
    assert [one["protocol"] for one in found] == ["polyvore-outfits/fitb", "polyvore-outfits/compatibility"]
    assert [one["figures"] for one in found] == [one["figures"] for one in wanted]
    assert [one["data"]["layout"] for one in found] == ["polyvore_outfits"] * 2


def test_figures_of_scores_that_are_known() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2], [np.nan] * 3])
    result = blank_result(scores, np.zeros(4, dtype=int), {"flat": np.ones((4, 3))}, 500, 0)
    assert result.figure["value"] == pytest.approx(50) and result.left_out == 1  # right, wrong, half
    assert result.controls == {"chance": pytest.approx(100 / 3), "flat": pytest.approx(100 / 3)}
    # Several right answers: each of them counts. Right; two of three equal ones; chance is two in three.
    mask = np.array([[1, 1, 0], [1, 0, 1]], dtype=bool)
    several = blank_result(np.array([[0.1, 0.8, 0.1], [0.5, 0.5, 0.5]]), mask, {}, 100, 0)
    assert several.figure["value"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert several.controls["chance"] == pytest.approx(200 / 3)
    areas = compatibility_result(np.array([3.0, 1, 2, 0, np.nan]), np.array([1, 1, 0, 0, 1]), {}, 100, 0)
    assert areas.figure["value"] == 0.75 and areas.queries == 4


def test_fusion_weighs_what_helps() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 4, 200)
    good, noise = np.eye(4)[right] + rng.random((200, 4)), rng.random((200, 4))
    weights = best_weights([good, noise], True, lambda scores: float((scores.argmax(1) == right).mean()))
    assert weights[0] > weights[1]
    # Of outfits: the higher, the more likely to be someone's own.
    labels = np.repeat([0, 1], 100)
    told, random = labels + rng.random(200), rng.random(200)
    weights = best_weights([random, told], False, lambda scores: area_under_curve(scores, labels))
    assert weights[1] > weights[0]
    with pytest.raises(ValueError, match="as many weights"):
        fused([good, noise], [1.0], True)


def test_words_of_names_are_counted_once_per_name() -> None:
    assert own_vocabulary(["Red red shirt", "red skirt", "blue skirt"], 2) == ["red", "skirt"]
    with pytest.raises(ValueError, match="--min_word_count"):
        own_vocabulary(["red", "blue"], 2)
    # Split as the processor splits them: at ASCII blanks alone.
    assert own_vocabulary(["a\u00a0b c", "a\u00a0b\tC"], 2) == ["a\u00a0b", "c"]


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--item_inputs", "text"], "goes with --variant bilstm-no-vse"),
        (["--official_clipping"], "belongs to --optimizer sgd"),
        (["--vision_weights", "nowhere.ckpt"], "image networks; give one"),
        (["--train_split", "all"], "splits"),
        (["--records", "tf_records", "--dataset", "polyvore_outfits"], "--records are shards of --dataset polyvore"),
        (["--questions", "typed"], "fill_in_blank_valid_typed.json"),
    ],
)
def test_arguments_that_make_no_sense_are_errors(extra, message, flags, tmp_path) -> None:
    process = start(PROGRAM, *flags, *extra, "--output_dir", tmp_path / "run")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0 and message in output and "Traceback" not in output
