"""A Parquet folder, local or pushed, opens with a plain `load_dataset`; nothing else is needed to read it."""

import json
import subprocess
import sys

import datasets
import pytest
from PIL import Image

from data_scripts.prepare import main, write_parquet
from tests.hub_server import LocalHub

READ_BACK = """
import json, sys, datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset(sys.argv[1], "dress")
gallery = datasets.load_dataset(sys.argv[1], "dress-gallery", split="val", streaming=True)
first = rows["val"][0]
print(json.dumps([list(rows), first["reference_id"], first["captions"], first["reference_image"].size,
                  [row["image"].getpixel((0, 0))[0] for row in gallery]]))
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    datasets.disable_progress_bars()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    root = tmp_path / "fashionIQ_dataset"
    for folder in ("captions", "image_splits", "images"):
        (root / folder).mkdir(parents=True)
    for split in ("train", "val"):
        ids = [f"{split}{k}" for k in range(3)]
        for k, name in enumerate(ids):
            Image.new("RGB", (6, 4), (40 * k,) * 3).save(root / "images" / f"{name}.jpg", quality=100)
        triplet = {"candidate": ids[0], "target": ids[1], "captions": ["is red", "is \u00e9l\u00e9gant"]}
        (root / "captions" / f"cap.dress.{split}.json").write_text(json.dumps([triplet]))
        (root / "image_splits" / f"split.dress.{split}.json").write_text(json.dumps(ids))
    return root


def expected():
    return [["train", "val"], "val0", ["is red", "is \u00e9l\u00e9gant"], [6, 4], [0, 40, 80]]


def run(script, environment, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_parquet_folder_and_its_upload_open_with_plain_load_dataset(tree, tmp_path):
    output = tmp_path / "parquet"
    main(
        [
            "--dataset",
            "fashioniq",
            "--data_dir",
            str(tree),
            "--output_dir",
            str(output),
            "--configs",
            "dress",
            "dress-gallery",
        ]
    )
    assert sorted(p.name for p in output.iterdir()) == ["README.md", "dress", "dress-gallery"]
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in output.rglob("*") if p.is_file())
    for file in (tree / "images").iterdir():
        file.unlink()  # the photos are inside the Parquet files
    with LocalHub() as hub:
        environment = hub.client_environment(tmp_path / "home")
        assert json.loads(run(READ_BACK, environment, str(output))[-1]) == expected()
        push = "import sys\nfrom pathlib import Path\nfrom data_scripts.prepare import push\n"
        push += "print(push(Path(sys.argv[1]), 'someone/dresses', public=False))"
        assert "someone/dresses" in run(push, environment | {"PYTHONPATH": "."}, str(output))[-1]
        assert json.loads(run(READ_BACK, environment, "someone/dresses")[-1]) == expected()


def test_damaged_photo_is_refused_and_nothing_half_written_appears(tree, tmp_path):
    photo = tree / "images" / "val2.jpg"
    photo.write_bytes(photo.read_bytes()[:-60])
    message = r"1 images cannot be decoded, replace them: image_id val2, val2\.jpg: .*[Tt]runcated"
    with pytest.raises(ValueError, match=message):
        write_parquet("fashioniq", tree, tmp_path / "out", ["dress-gallery"])
    assert not (tmp_path / "out").exists()
    photo.unlink()
    write_parquet("fashioniq", tree, tmp_path / "out", ["dress-gallery"], missing="skip")
    assert (
        "Rows left out because images are missing: train 0 of 3, val 1 of 3."
        in (tmp_path / "out/README.md").read_text()
    )


def test_folder_in_use_and_unknown_configuration_are_refused(tree, tmp_path, capsys):
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_parquet("fashioniq", tree, tree, ["dress"])
    with pytest.raises(SystemExit) as stop:
        main(["--dataset", "cirr", "--data_dir", str(tree), "--output_dir", str(tmp_path / "out")])
    assert stop.value.code == 1 and "cirr.py" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "--dataset",
                "fashioniq",
                "--data_dir",
                str(tree),
                "--output_dir",
                str(tmp_path / "o"),
                "--configs",
                "hats",
            ]
        )
    assert stop.value.code == 2 and "hats" in capsys.readouterr().err
