"""Features by id on disk: nothing is lost on the way there and back, an interrupted store goes on, damage is named."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import GOLDEN
from tests.engine.processes import ROOT
from train.engine.feature_store import (
    FeatureStore,
    FeatureWriter,
    key_digest,
    read_features,
    read_jsonl,
    write_arrow,
    write_jsonl,
)

# Numbers, strings that read like them, blanks, quotes, letters beyond ASCII and beyond 16 bits.
IDS = [12, "12", "", 'a "b"\n', "Caf\u00e9", "\u65e5\u672c", "\U0001f457", -3, 2**60]
DIM = 5


def random_features(rows=9, dim=DIM, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def written(path, ids=IDS, features=None, kind="text", **options):
    features = random_features(len(ids)) if features is None else features
    with FeatureWriter(path, kind, ids, features.shape[1], **options) as writer:
        writer.add(features)
    return path


def typed(ids):
    return [(type(i), i) for i in ids]


def write_some(path, rows, key="a", ids=IDS, features=None, **options):
    """A writer that stops with an error after some rows."""
    features = random_features(len(ids)) if features is None else features
    with pytest.raises(InterruptedError), FeatureWriter(path, "text", ids, DIM, key=key, **options) as writer:
        writer.add(features[:rows])
        raise InterruptedError


# There and back


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_ids_keep_their_types_and_order_and_features_their_bits(dtype, tmp_path):
    features = random_features()
    features[0] = torch.tensor([0.0, -0.0, 1.0, 1e-30, 60000.0])
    store = FeatureStore(written(tmp_path / "a.safetensors", features=features, dtype=dtype))
    assert typed(store.ids) == typed(IDS) and len(store) == len(IDS)
    assert (store.kind, store.key) == ("text", "")
    wanted = features.to(getattr(torch, dtype))
    assert store.features.dtype == wanted.dtype
    assert store.features.numpy().tobytes() == wanted.numpy().tobytes()


def test_features_are_found_by_id_and_by_slice(tmp_path):
    features = random_features()
    store = FeatureStore(written(tmp_path / "a.safetensors", features=features))
    assert torch.equal(store.features[2:5], features[2:5])
    assert torch.equal(store.rows(["12", 12, "\U0001f457", "12"]), features[[1, 0, 6, 1]])
    assert store.rows([]).shape == (0, DIM)
    with pytest.raises(KeyError, match=r"a\.safetensors: no features for 2 ids, first: \['-3', 13\]"):
        store.rows([12, "-3", 13])


@pytest.mark.parametrize("steps", [[9], [1, 8], [4, 0, 4, 1], [1] * 9])
def test_rows_can_come_in_any_pieces(steps, tmp_path):
    features = random_features()
    with FeatureWriter(tmp_path / "pieces.safetensors", "text", IDS, DIM) as writer:
        for part in features.split(steps):
            writer.add(part)
    whole = written(tmp_path / "whole.safetensors", features=features)
    assert (tmp_path / "pieces.safetensors").read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pieces.safetensors", "whole.safetensors"]


def test_any_reader_of_safetensors_reads_a_store(tmp_path):
    features = random_features()
    path = written(tmp_path / "new" / "folder" / "a.safetensors", features=features)
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == {"features", "ids"} and file.metadata()["kind"] == "text"
        assert np.array_equal(file.get_tensor("features"), features.numpy())
        assert json.loads(file.get_tensor("ids").tobytes()) == IDS


def test_rows_of_another_layout_in_memory_are_written_as_they_read(tmp_path):
    features = random_features()
    path = written(tmp_path / "a.safetensors", features=features.T.contiguous().T.double())
    assert torch.equal(FeatureStore(path).features, features)


def test_an_arrow_file_holds_ids_and_features(tmp_path):
    import pyarrow as pa

    features = random_features(3)
    for name, ids, wanted in (("numbers", [3, 1, 2], [3, 1, 2]), ("mixed", [3, "1", "\u00e9"], ["3", "1", "\u00e9"])):
        store = FeatureStore(written(tmp_path / f"{name}.safetensors", ids, features, dtype="float16"))
        write_arrow(store, tmp_path / f"{name}.arrow")
        table = pa.ipc.open_file(tmp_path / f"{name}.arrow").read_all()
        assert table["id"].to_pylist() == wanted
        assert table["feature"].to_pylist() == features.half().float().tolist()


# The original's files


def test_the_originals_files_are_read_and_written_again_to_the_letter(tmp_path):
    for case in ("predict_eval", "extract_features"):
        for kind, name in (("image", "images.img_feat.jsonl"), ("text", "texts.txt_feat.jsonl")):
            original = GOLDEN / "fashionklip" / case / name
            rows = [json.loads(line) for line in original.read_text().splitlines()]
            ids, features = read_jsonl(original, kind)
            field = {"image": "image_id", "text": "query_id"}[kind]
            assert typed(ids) == typed([row[field] for row in rows])
            assert features.dtype == torch.float32
            assert features.tolist() == np.array([row["feature"] for row in rows], np.float32).tolist()
            write_jsonl(tmp_path / name, kind, ids, features)
            again = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
            assert [row.keys() for row in again] == [row.keys() for row in rows]
            assert typed([row[field] for row in again]) == typed([row[field] for row in rows])
            if case == "extract_features":  # the original's numbers are float32
                assert (tmp_path / name).read_bytes() == original.read_bytes()


def test_both_formats_hold_the_same(tmp_path):
    features = random_features()
    store = written(tmp_path / "a.safetensors", features=features)
    write_jsonl(tmp_path / "a.jsonl", "text", IDS, features)
    for path in (store, tmp_path / "a.jsonl", str(store)):
        ids, found = read_features(path, "text")
        assert typed(ids) == typed(IDS) and torch.equal(found, features)
    lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {"query_id": 12, "feature": features[0].tolist()}


def test_other_features_than_ids_leave_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")
    with pytest.raises(ValueError, match="zip"):
        write_jsonl(path, "image", ["1", "2", "3"], random_features(2))
    assert path.read_text() == "old\n" and list(tmp_path.iterdir()) == [path]


GOOD = json.dumps({"image_id": "1", "feature": [0.5, 2]})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image_id": "2", "feature": [1.0]}', "expected 2 finite numbers in feature"),
        ('{"image_id": "2", "feature": []}', "feature is not a list of numbers"),
        ('{"image_id": "2", "feature": [1.0, NaN]}', "expected 2 finite numbers in feature"),
        ('{"image_id": "2", "feature": [1.0, 1e39]}', "expected 2 finite numbers in feature"),
        ('{"image_id": "2", "feature": [[1.0, 2.0]]}', "expected 2 finite numbers in feature"),
        ('{"image_id": "2", "feature": [1.0, null]}', "feature is not a list of numbers"),
        ('{"image_id": "2", "feature": 3}', "feature is not a list of numbers"),
        ('{"image_id": "2", "feature": ["1", "2"]}', "feature is not a list of numbers"),
        ('{"image_id": "2", "feature": [1, [2]]}', "feature is not a list of numbers"),
        ('{"image_id": "2"}', "lacks feature"),
        ('{"query_id": 2, "feature": [1, 2]}', "lacks image_id"),
        ('{"image_id": null, "feature": [1, 2]}', "expected a number or a string in image_id, got None"),
        ('{"image_id": true, "feature": [1, 2]}', "expected a number or a string in image_id, got True"),
        ('{"image_id": 1.5, "feature": [1, 2]}', "expected a number or a string in image_id, got 1.5"),
        ('{"image_id": "2", "feature": [1,', "not valid JSON"),
    ],
)
def test_a_broken_line_is_named(line, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(ValueError) as caught:
        read_jsonl(path, "image")
    assert f"{path}, line 3: {message}" in str(caught.value)


def test_a_file_whose_first_feature_is_empty_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"image_id": "1", "feature": []}) + "\n")
    with pytest.raises(ValueError, match="line 1: feature is not a list of numbers"):
        read_jsonl(path, "image")


def test_absent_and_empty_files_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"empty\.jsonl holds no features"):
        read_features(tmp_path / "empty.jsonl", "image")
    for name in ("no.jsonl", "no.safetensors"):
        with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
            read_features(tmp_path / name, "image")


# Damage


@pytest.mark.parametrize("keep", [0, 4, 500, 1023, 1030, -1])
def test_a_store_that_is_cut_off_is_refused_when_it_is_opened(keep, tmp_path):
    path = written(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=r"a\.safetensors is not a feature store, or is cut off .*extract the features"
    ):
        FeatureStore(path)


def test_other_files_of_the_format_are_no_stores(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a feature store"):
        FeatureStore(path)
    names = torch.tensor(list(b'["a", "b", "c"]'), dtype=torch.uint8)
    save_file({"features": torch.ones(2, 2), "ids": names}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors holds 3 ids and 2 features"):
        FeatureStore(path)
    save_file({"features": torch.ones(2, 2), "ids": names[:5]}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a feature store"):
        FeatureStore(path)


def test_features_of_the_other_kind_are_refused(tmp_path):
    path = written(tmp_path / "a.safetensors", kind="image")
    with pytest.raises(ValueError, match=r"a\.safetensors holds image features, expected text features"):
        read_features(path, "text")


# Wrong use


def test_an_id_twice_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.safetensors: 2 ids occur twice"):
        FeatureWriter(tmp_path / "a.safetensors", "image", ["1", "2", "1", "1"], DIM)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "dtype"), [("images", "float32"), ("image", "bfloat16")])
def test_unknown_kinds_and_types_are_refused(kind, dtype, tmp_path):
    with pytest.raises(ValueError, match=f"got '{kind}', '{dtype}'"):
        FeatureWriter(tmp_path / "a.safetensors", kind, ["1"], DIM, dtype)


@pytest.mark.parametrize("shape", [(2, DIM + 1), (2, DIM - 1), (DIM,), (8, DIM)])
def test_features_of_another_size_are_refused_and_change_nothing(shape, tmp_path):
    features = random_features()
    with FeatureWriter(tmp_path / "a.safetensors", "text", IDS, DIM) as writer:
        writer.add(features[:2])
        with pytest.raises(ValueError, match=r"features after 2 of \(9, 5\)"):
            writer.add(torch.zeros(shape))
        assert len(writer) == 2
        writer.add(features[2:])
    assert torch.equal(FeatureStore(tmp_path / "a.safetensors").features, features)


def test_an_incomplete_store_gets_no_name(tmp_path):
    path = tmp_path / "a.safetensors"
    with (
        pytest.raises(ValueError, match=r"a\.safetensors: only 4 of 9 features were written"),
        FeatureWriter(path, "text", IDS, DIM) as writer,
    ):
        writer.add(random_features()[:4])
    assert not path.exists()


# Interruptions


@pytest.mark.parametrize("rows", [0, 1, 8, 9])
def test_an_interrupted_store_goes_on_to_the_same_bytes(rows, tmp_path):
    features = random_features()
    whole = written(tmp_path / "whole.safetensors", features=features, key="a")
    path = tmp_path / "a.safetensors"
    write_some(path, rows, features=features)
    assert not path.exists()
    with FeatureWriter(path, "text", IDS, DIM, key="a") as writer:
        assert len(writer) == rows
        writer.add(features[rows:])
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "whole.safetensors"]


def test_half_a_row_is_written_again(tmp_path):
    features, path = random_features(), tmp_path / "a.safetensors"
    write_some(path, 4, features=features)
    partial = tmp_path / "a.safetensors.partial"
    os.truncate(partial, partial.stat().st_size - 7)
    with FeatureWriter(path, "text", IDS, DIM, key="a") as writer:
        assert len(writer) == 3
        writer.add(features[3:])
    assert torch.equal(FeatureStore(path).features, features)


def test_ids_that_were_written_before_a_kill_are_no_features(tmp_path):
    """A kill between the ids and the new name leaves more bytes than rows."""
    features, path = random_features(), tmp_path / "a.safetensors"
    write_some(path, 9, features=features)
    with open(tmp_path / "a.safetensors.partial", "ab") as file:
        file.write(b"x" * 1000)
    with FeatureWriter(path, "text", IDS, DIM, key="a") as writer:
        assert len(writer) == 9
    assert path.read_bytes() == written(tmp_path / "b.safetensors", features=features, key="a").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "b"},
        {"key": None},
        {"ids": [*IDS[:-1], "other"]},
        {"ids": IDS[::-1]},
        {"ids": [12, *[str(i) for i in range(8)]]},
        {"dtype": "float16"},
    ],
)
def test_rows_of_another_key_or_other_ids_are_not_taken_over(changes, tmp_path):
    path = tmp_path / "a.safetensors"
    write_some(path, 4)
    options = {"key": "a", "ids": IDS} | changes
    new = random_features(seed=1)
    with FeatureWriter(path, "text", options.pop("ids"), DIM, **options) as writer:
        assert len(writer) == 0
        writer.add(new)
    assert torch.equal(FeatureStore(path).features, new.to(getattr(torch, changes.get("dtype", "float32"))))


def test_without_a_key_nothing_goes_on(tmp_path):
    path = tmp_path / "a.safetensors"
    write_some(path, 4, key=None)
    assert len(FeatureWriter(path, "text", IDS, DIM)) == 0


def test_the_key_tells_numbers_from_strings_and_is_kept_in_the_store(tmp_path):
    keys = [key_digest(["k", 1], "text", DIM, "float32", ids) for ids in ([1, 2], ["1", "2"], [1, "2"])]
    assert len(set(keys)) == 3
    store = FeatureStore(written(tmp_path / "a.safetensors", [1, 2], key=["k", 1]))
    assert store.key == keys[0]


def test_an_old_store_stays_until_the_new_one_is_complete(tmp_path):
    path = written(tmp_path / "a.safetensors")
    before = path.read_bytes()
    write_some(path, 4, features=random_features(seed=1))
    assert path.read_bytes() == before
    new = random_features(seed=2)
    written(path, features=new, key="b")
    assert torch.equal(FeatureStore(path).features, new)


SLOW = """
import sys, time, torch
from train.engine.feature_store import FeatureWriter
with FeatureWriter(sys.argv[1], "image", [str(i) for i in range(100)], 5, key="a") as writer:
    for row in torch.arange(500.0).view(100, 1, 5)[len(writer) :]:
        writer.add(row)
        print("row", flush=True)
        time.sleep(float(sys.argv[2]))
"""


def test_a_killed_process_loses_no_row_that_it_had_added(tmp_path):
    path = tmp_path / "a.safetensors"
    command = [sys.executable, "-c", SLOW, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "0.05"], env=environment, stdout=subprocess.PIPE, text=True)
    for _ in range(10):
        assert process.stdout.readline() == "row\n"
    time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    rows = 10 + process.communicate()[0].count("row")
    assert rows < 100 and not path.exists()
    done = subprocess.run([*command, "0"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("row") in (100 - rows, 99 - rows)  # the kill may have come between a row and its line
    store = FeatureStore(path)
    assert store.ids == [str(i) for i in range(100)]
    assert torch.equal(store.features, torch.arange(500.0).view(100, 5))
