"""Atelier on disk: the official trees, equal worlds, resuming, and refusing what cannot be done."""

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts.atelier import WorldSettings, build, build_world
from data_scripts.atelier.__main__ import main
from data_scripts.atelier.garment import Garment, differences
from data_scripts.atelier.layouts import pictures

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = WorldSettings(garments=200, seed=5, image_size=48, views=("back",))
FLAGS = ["--garments", "200", "--seed", "5", "--image_size", "48", "--views", "back", "--quiet"]
CATEGORIES, SPLITS = ("dress", "shirt", "toptee"), ("train", "val", "test")


def _content(root: Path) -> dict[str, str]:
    """Hash of every file a user sees, by relative path; pictures by their decoded pixels."""
    content = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if path.suffix in (".jpg", ".png"):
            with Image.open(path) as picture:
                data = np.asarray(picture.convert("RGB")).tobytes()
        else:
            data = path.read_bytes()
        content[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    return content


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("atelier") / "world"
    build_world(root, SETTINGS, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def garments(world) -> dict[str, Garment]:
    rows = [json.loads(line) for line in (world / "atelier/garments.jsonl").read_text().splitlines()]
    assert all(row["title"] and row["description"] for row in rows)
    return {row["id"]: Garment.from_row(row) for row in rows}


def _read(path: Path):
    return json.loads(path.read_text())


def test_two_workers_make_the_same_world_as_one(world, tmp_path):
    build_world(tmp_path / "other", SETTINGS, workers=2, progress=False)
    assert _content(tmp_path / "other") == _content(world)


def test_fashioniq_tree_is_the_official_one(world, garments):
    root = world / "fashionIQ_dataset"
    assert sorted(p.name for p in root.iterdir()) == ["captions", "image_splits", "images"]
    on_disk = {p.stem for p in (root / "images").iterdir()}
    listed, queries = set(), 0
    for category in CATEGORIES:
        for split in SPLITS:
            ids = _read(root / f"image_splits/split.{category}.{split}.json")
            assert ids and len(set(ids)) == len(ids)
            assert all(garments[i].split == split and garments[i].fashioniq_category == category for i in ids)
            listed |= set(ids)
            rows = _read(root / f"captions/cap.{category}.{split}.json")
            assert rows
            for row in rows:
                wanted = {"candidate", "captions"} | ({"target"} if split != "test" else set())
                assert set(row) == wanted and len(row["captions"]) == 2 and all(row["captions"])
                assert row["candidate"] in ids and row.get("target", ids[0]) in ids
                assert row["candidate"] != row.get("target")
                if split != "test":
                    assert 1 <= len(differences(garments[row["candidate"]], garments[row["target"]])) <= 3
            queries += len(rows)
    assert listed == on_disk
    answers = _read(world / "atelier/test_answers_fashioniq.json")
    hidden = [r for c in CATEGORIES for r in _read(root / f"captions/cap.{c}.test.json")]
    assert [(a["candidate"], a["captions"]) for a in answers if a["category"] == "dress"] == [
        (r["candidate"], r["captions"]) for r in _read(root / "captions/cap.dress.test.json")
    ]
    assert len(answers) == len(hidden) and all(a["target"] in garments for a in answers)
    stored = [json.loads(x) for x in (world / "atelier/queries.jsonl").read_text().splitlines()]
    assert sum(q["layout"] == "fashioniq" for q in stored) == queries


def test_cirr_tree_is_the_official_one_with_groups_of_six(world):
    root = world / "cirr_dataset"
    for split, folder in (("train", "train"), ("val", "dev"), ("test1", "test1")):
        paths = _read(root / f"cirr/image_splits/split.rc2.{split}.json")
        for name, path in paths.items():
            pattern = rf"\./train/\d{{1,2}}/{name}\.png" if split == "train" else rf"\./{folder}/{name}\.png"
            assert re.fullmatch(pattern, path) and re.fullmatch(rf"{folder}-\d+-[0-2]-img[01]", name)
            with Image.open(root / path) as picture:
                assert picture.size == (48, 48) and picture.format == "PNG"
        rows = _read(root / f"cirr/captions/cap.rc2.{split}.json")
        assert rows and len({r["pairid"] for r in rows}) == len(rows)
        for row in rows:
            members = row["img_set"]["members"]
            assert len(set(members)) == 6 and set(members) <= set(paths) and row["reference"] in members
            assert members[row["img_set"]["reference_rank"]] == row["reference"]
            if split == "test1":
                assert set(row) == {"pairid", "reference", "caption", "img_set"} and "target_rank" not in row["img_set"]
            else:
                assert set(row) == {"pairid", "reference", "target_hard", "target_soft", "caption", "img_set"}
                assert row["target_hard"] in members and row["target_soft"][row["target_hard"]] == 1.0
                assert members[row["img_set"]["target_rank"]] == row["target_hard"] != row["reference"]
    hidden = {r["pairid"] for r in _read(root / "cirr/captions/cap.rc2.test1.json")}
    assert {a["pairid"] for a in _read(world / "atelier/test_answers_cirr.json")} == hidden
    assert sum(1 for p in (root / "train").iterdir()) == 100


def test_no_design_is_in_two_splits(garments):
    splits: dict[str, set[str]] = {}
    for garment in garments.values():
        splits.setdefault(garment.design_id, set()).add(garment.split)
    assert all(len(s) == 1 for s in splits.values()) and set.union(*splits.values()) == set(SPLITS)


def test_extra_views_are_written_beside(world, garments):
    names = {p.stem for p in (world / "atelier/views/back").rglob("*.jpg")}
    assert names == set(garments)


def test_a_finished_world_is_checked_and_mended(world, tmp_path):
    before = _content(world)
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 0
    victim = next((world / "fashionIQ_dataset/images").iterdir())
    empty = next((world / "cirr_dataset/dev").iterdir())
    victim.unlink()
    empty.write_bytes(b"")
    (world / "fashionIQ_dataset/captions/cap.dress.val.json").write_text("[")
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 2
    assert _content(world) == before


def _killed_run(root: Path) -> bool:
    """Start drawing and kill the run once there are pictures. False: it was over before it could be killed."""
    command = [sys.executable, "-m", "data_scripts.atelier", "--output_dir", str(root), *FLAGS, "--workers", "2"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    images = root / "fashionIQ_dataset/images"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if images.is_dir() and sum(1 for _ in os.scandir(images)) >= 5:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 60
    while not _lock_is_free(root) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # the orphaned drawing processes end themselves
    return _read(root / "atelier/world.json")["status"] == "unfinished"


def test_a_killed_run_leaves_no_half_file_and_is_continued(world, tmp_path):
    attempts = [tmp_path / f"killed{number}" for number in range(5)]
    root = next((attempt for attempt in attempts if _killed_run(attempt)), None)
    assert root is not None, "the world was always finished before it could be killed"
    found = [p for p in root.rglob("*") if p.suffix in (".jpg", ".png") and ".partial" not in p.parts]
    assert found
    for path in found:
        with Image.open(path) as picture:
            picture.load()
    assert not list(root.rglob("cap.*.json"))
    summary = build_world(root, SETTINGS, workers=1, progress=False)
    assert 0 < summary["drawn"] < summary["pictures"]
    assert _content(root) == _content(world)
    assert not list((root / "atelier/.partial").iterdir())


def _lock_is_free(root: Path) -> bool:
    import fcntl

    with open(root / "atelier/.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def test_another_seed_or_size_in_the_same_folder_is_refused(world):
    before = _content(world)
    with pytest.raises(ValueError, match="seed: 5 there, 6 asked"):
        build_world(world, WorldSettings(garments=200, seed=6, image_size=48, views=("back",)), 1, progress=False)
    with pytest.raises(ValueError, match="image_size: 48 there, 64 asked"):
        build_world(world, WorldSettings(garments=200, seed=5, image_size=64, views=("back",)), 1, progress=False)
    assert _content(world) == before


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / "real/fashionIQ_dataset/images").mkdir(parents=True)
    with pytest.raises(ValueError, match="not an Atelier world"):
        build_world(tmp_path / "real", SETTINGS, 1, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        build_world(tmp_path / "file", SETTINGS, 1, progress=False)
    (tmp_path / "odd/atelier").mkdir(parents=True)
    (tmp_path / "odd/atelier/world.json").write_text("{")
    with pytest.raises(ValueError, match="world.json is not readable"):
        build_world(tmp_path / "odd", SETTINGS, 1, progress=False)


def test_a_folder_in_use_is_refused(world):
    with build._locked(world), pytest.raises(ValueError, match="another process"):
        build_world(world, SETTINGS, 1, progress=False)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    settings = WorldSettings(garments=200, seed=1, image_size=32, layouts=("fashioniq",))
    root, real, calls = tmp_path / "full", os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(build.os, "replace", replace)
    with pytest.raises(OSError, match="disk is full.*run the same command again") as caught:
        build_world(root, settings, 1, progress=False)
    assert caught.value.errno == errno.ENOSPC and ".jpg" in str(caught.value)
    monkeypatch.undo()
    kept = list((root / "fashionIQ_dataset/images").iterdir())
    assert len(kept) == 19  # the first rename was the world's record
    summary = build_world(root, settings, 1, progress=False)
    assert summary["drawn"] == summary["pictures"] - 19


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10_000_000})())
    with pytest.raises(OSError, match="1,000,000 garments needs about .* GB"):
        build_world(tmp_path / "new", WorldSettings(garments=1_000_000), 1, progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--garments", "199", "garments is 199; it must be between 200 and 1,000,000"),
        ("--image_size", "8", "image_size is 8"),
        ("--seed", "-1", "seed is -1"),
        ("--figure_share", "1.5", "figure_share is 1.5"),
        ("--group_pairs", "31", "group_pairs is 31; it must be between 1 and 30"),
        ("--layouts", "cir", "choose different ones of fashioniq, cirr"),
        ("--views", "side", "choose different ones of front, back, detail, figure"),
        ("--picture_format", "gif", "choose png or jpg"),
    ],
)
def test_options_out_of_range_are_clear_errors(tmp_path, capsys, flag, value, message):
    with pytest.raises(SystemExit) as caught:
        main(["--output_dir", str(tmp_path / "w"), flag, value])
    assert caught.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_the_program_prints_one_line_of_json_and_reports_errors(world, tmp_path, capsys):
    assert main(["--output_dir", str(world), *FLAGS, "--workers", "1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["drawn"] == 0 and summary["pictures"] > 400
    assert main(["--output_dir", str(world), "--quiet"]) == 1
    assert "holds another world" in capsys.readouterr().err
    assert main(["--output_dir", str(world), *FLAGS, "--workers", "0"]) == 1
    assert "workers is 0" in capsys.readouterr().err


def test_a_million_garments_can_be_listed_without_making_them():
    settings = WorldSettings(garments=1_000_000)
    start = time.monotonic()
    paths = [p for number in range(settings.designs - 200, settings.designs) for p in pictures(settings, number)]
    assert time.monotonic() - start < 5
    assert paths[-1].index < 1_000_000 and len({p.path for p in paths}) == len(paths)
