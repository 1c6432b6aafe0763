"""The programs train/evaluation.py, train/compare.py and train/cirr_submission.py as a user runs them."""

import contextlib
import csv
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.engine.cards import read_results
from train.retrieval.cirr_submission import validate_submission
from train.retrieval.rank_files import read_ranks

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def run(program, *arguments):
    """What a program prints, run inside this process; its errors come through."""
    output, before = io.StringIO(), sys.argv
    sys.argv = [program, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(output):
            importlib.import_module(f"train.{program}").main()
    finally:
        sys.argv = before
    return output.getvalue()


def launched(program, *arguments, launcher=()):
    """The finished process of a program started the way a user starts it."""
    command = [sys.executable, *launcher, str(ROOT / "train" / f"{program}.py"), *map(str, arguments)]
    import datasets

    environment = {**os.environ, **QUIET, "HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE)}
    done = subprocess.run(command, env=environment, cwd=ROOT.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def last_line(output):
    return json.loads(output.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def evaluated(model_dir, fashioniq_dir, tmp_path_factory):
    """One evaluation of both FashionIQ protocols: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("evaluation") / "new"
    output = run(
        "evaluation",
        *("--model", model_dir, "--protocol", "fashioniq", "--data_dir", fashioniq_dir, "--output_dir", folder),
        *("--data_name", "made-up", "--resamples", 300, "--batch_size", 8, "--cpu", "--csv"),
    )
    return folder, output


def test_the_last_line_is_one_json_object_with_the_figures_of_both_galleries(evaluated):
    folder, output = evaluated
    headline = last_line(output)
    assert set(headline) == {"fashioniq/original-split", "fashioniq/val-split"}
    results = read_results(folder / "results.json")  # as the model card reads them
    for result in results:
        assert {n: round(f["value"], 4) for n, f in result["figures"].items()} == headline[result["protocol"]]
    assert "fashioniq/val-split   24 queries, gallery: dress" in output
    assert output.count("image_only") >= 2


def test_results_say_where_they_come_from(evaluated, model_dir):
    first, second = json.loads((evaluated[0] / "results.json").read_text())["results"]
    assert first["data"]["gallery"] == {"dress": 14, "shirt": 14, "toptee": 14}
    assert first["data"]["queries"] == 24 and first["data"]["name"] == "made-up"
    assert len(first["data"]["fingerprint"]) == len(first["model"]["weights_sha256"]) == 64
    assert first["model"]["name"] == model_dir.name and first["model"]["model_type"] == "clip4cir"
    assert str(model_dir.parent) not in json.dumps(first)  # no path of this machine
    assert {"torch", "transformers", "numpy", "python"} <= first["packages"].keys()
    assert (first["split"], first["seed"]) == ("val", 0)
    assert first["definition"]["gallery"] != second["definition"]["gallery"]
    assert set(first["controls"]) == {"image_only", "text_only", "sum", "chance"}
    assert {"value", "low", "high", "p"} == set(first["differences"]["model - sum"]["average_recall"])
    assert all(figure["unit"] == "percent" for figure in first["figures"].values())


def test_the_ranks_on_disk_give_the_figures(evaluated):
    result = json.loads((evaluated[0] / "results.json").read_text())["results"][0]
    record = read_ranks(evaluated[0] / "ranks.npz")["fashioniq/original-split"]["model"]
    for category in ("dress", "shirt", "toptee"):
        of_category = record.ranks[record.categories == category]
        figure = result["figures"][f"{category}_recall_at10"]["value"]
        assert figure == pytest.approx(100 * np.mean(of_category < 10))


def test_the_csv_holds_every_figure(evaluated):
    with open(evaluated[0] / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 9  # protocols, systems, figures
    assert {row["system"] for row in rows} == {"model", "image_only", "text_only", "sum", "chance"}
    assert all(row["low"] == "" for row in rows if row["system"] == "chance")


def test_a_folder_with_content_is_refused(evaluated, model_dir, fashioniq_dir):
    arguments = ("--model", model_dir, "--protocol", "fashioniq", "--data_dir", fashioniq_dir, "--cpu")
    with pytest.raises(FileExistsError, match="not empty.*--overwrite"):
        run("evaluation", *arguments, "--output_dir", evaluated[0])


def test_two_processes_give_the_ranks_of_one(evaluated, model_dir, fashioniq_dir, tmp_path):
    done = launched(
        "evaluation",
        *("--model", model_dir, "--protocol", "fashioniq", "--data_dir", fashioniq_dir, "--output_dir", tmp_path / "n"),
        *("--data_name", "made-up", "--resamples", 300, "--batch_size", 8, "--cpu", "--csv"),
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    )
    assert last_line(done.stdout) == last_line(evaluated[1])
    one, two = read_ranks(evaluated[0]), read_ranks(tmp_path / "n")
    for protocol, systems in one.items():
        for system, record in systems.items():
            assert np.array_equal(record.ranks, two[protocol][system].ranks)
    assert (tmp_path / "n" / "results.json").read_text() == (evaluated[0] / "results.json").read_text()


def test_code_in_a_folder_runs_only_when_it_is_trusted(model_dir, fashioniq_dir, tmp_path):
    from train.retrieval.loading import load_model

    # A type of this repository: its own code, whatever the folder holds.
    own = tmp_path / "own"
    shutil.copytree(model_dir, own)
    (own / "modeling_clip4cir.py").write_text("raise SystemExit('the code of the folder ran')\n")
    assert type(load_model(str(own), trust_remote_code=True)[0]).__module__ == "modeling.clip4cir.modeling_clip4cir"
    # Another type with code of its own: refused until it is trusted.
    other = tmp_path / "other"
    shutil.copytree(own, other)
    settings = json.loads((other / "config.json").read_text()) | {"model_type": "somebody_elses"}
    (other / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="'somebody_elses'.*--trust_remote_code"):
        load_model(str(other))
    (other / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        load_model(str(other))


def test_a_model_folder_that_is_not_whole_is_refused(model_dir, tmp_path):
    from safetensors.torch import load_file, save_file

    from train.retrieval.loading import load_model

    def damaged(name):
        return shutil.copytree(model_dir, tmp_path / name)

    # transformers itself would go on with a tokenizer without words, or with random numbers for the missing tensor.
    (damaged("no words") / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="knows no words: tokenizer.json .* is missing"):
        load_model(str(tmp_path / "no words"))
    file = damaged("lost") / "model.safetensors"
    weights = load_file(file)
    lost = weights.popitem()[0]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lost: 1 tensors of the configuration are not among the weights.*{lost}"):
        load_model(str(tmp_path / "lost"))
    file = damaged("cut") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match="cut: the weights cannot be read"):
        load_model(str(tmp_path / "cut"))


def test_the_pooled_protocol_finds_the_layout_itself(model_dir, catalogue_dir, cirr_dir):
    arguments = ("--model", model_dir, "--resamples", 100, "--cpu", "--protocol")
    pooled = last_line(run("evaluation", *arguments, "composed/pooled-noref", "--data_dir", catalogue_dir))
    titles = last_line(run("evaluation", *arguments, "catalogue/same-title", "--data_dir", catalogue_dir))
    assert titles["catalogue/same-title"]["recall_at5"] >= pooled["composed/pooled-noref"]["recall_at5"]
    groups = last_line(run("evaluation", *arguments, "cirr/val", "--data_dir", cirr_dir))["cirr/val"]
    everything = last_line(run("evaluation", *arguments, "composed/pooled-noref", "--data_dir", cirr_dir))
    assert groups["recall_at10"] == everything["composed/pooled-noref"]["recall_at10"]
    with pytest.raises(
        ValueError, match="cirr layout serves cirr/val, composed/pooled-noref, not catalogue/same-title"
    ):
        run("evaluation", *arguments, "catalogue/same-title", "--dataset", "cirr", "--data_dir", cirr_dir)


def test_runs_are_compared_and_runs_of_different_protocols_are_not(evaluated, model_dir, cirr_dir, tmp_path, capsys):
    report = last_line(run("compare", evaluated[0] / "ranks.npz", evaluated[0], "--second_system", "text_only"))
    results = {r["protocol"]: r for r in json.loads((evaluated[0] / "results.json").read_text())["results"]}
    for protocol, figures in report.items():
        expected = {n: d["value"] for n, d in results[protocol]["differences"]["model - text_only"].items()}
        assert {n: d["value"] for n, d in figures.items()} == pytest.approx(expected)
    arguments = ("--model", model_dir, "--protocol", "cirr/val", "--data_dir", cirr_dir, "--resamples", 100, "--cpu")
    run("evaluation", *arguments, "--output_dir", tmp_path / "cirr")
    with pytest.raises(SystemExit, match="results of different protocols cannot be compared"):
        run("compare", evaluated[0], tmp_path / "cirr")
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    with pytest.raises(SystemExit, match="is not a file of ranks"):
        run("compare", tmp_path / "broken.npz", evaluated[0])
    with pytest.raises(SystemExit, match="not found"):
        run("compare", tmp_path / "none.npz", evaluated[0])
    with pytest.raises(SystemExit, match="no system 'models'"):
        run("compare", evaluated[0], evaluated[0], "--system", "models")


def test_a_submission_is_written_checked_and_not_overwritten(model_dir, cirr_dir, tmp_path):
    arguments = ("--model", model_dir, "--data_dir", cirr_dir, "--submission_name", "tiny", "--output_dir", tmp_path)
    report = last_line(run("cirr_submission", *arguments, "--cpu"))
    assert report["problems"] == [] and (report["queries"], report["gallery"]) == (33, 60)
    annotations = cirr_dir / "cirr" / "captions" / "cap.rc2.test1.json"
    assert [validate_submission(path, annotations) for path in report["files"]] == [[], []]
    with pytest.raises(FileExistsError, match="exists; pass --overwrite"):
        run("cirr_submission", *arguments, "--cpu")


@pytest.mark.parametrize("program", ["evaluation", "compare", "cirr_submission"])
def test_help_answers_without_loading_torch(program):
    done = launched(program, "--help", launcher=("-X", "importtime"))
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "usage" in done.stdout and not {"torch", "datasets", "evaluate"} & loaded


def test_importing_the_retrieval_code_imports_no_heavy_library_but_torch():
    modules = [f"train.retrieval.{p.stem}" for p in (ROOT / "train" / "retrieval").glob("[a-z]*.py")]
    lines = [f"import {name}" for name in modules] + [
        "import sys; print(sorted({'evaluate', 'datasets', 'transformers'} & sys.modules.keys()))"
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"--protocol": "fashioniq/original"}, ValueError, "unknown protocol 'fashioniq/original'"),
        ({"--model": "nowhere/at-all"}, FileNotFoundError, "neither a folder nor a Hub repository"),
        ({"--data_dir": "nowhere"}, FileNotFoundError, "FashionIQ not found under nowhere"),
        ({"--split": "test"}, FileNotFoundError, "split.dress.test.json"),
        ({"--batch_size": "0"}, SystemExit, "--batch_size 0: must be at least 1"),
        ({"--protocl": "x"}, SystemExit, "did you mean --protocol?"),
    ],
)
def test_what_a_user_gets_wrong_is_named(model_dir, fashioniq_dir, capsys, change, error, message):
    arguments = {"--model": model_dir, "--protocol": "fashioniq", "--data_dir": fashioniq_dir} | change
    with pytest.raises(error) as caught:
        run("evaluation", *(part for pair in arguments.items() for part in pair), "--cpu")
    assert message in str(caught.value) + capsys.readouterr().err
