"""Feature pickles of the original are read as data: what they may build is built, anything else is refused by name."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from modeling.bilstm.feature_files import Features, read_features, write_features

PROTOCOLS = range(5)  # of Python 3; what Python 2 writes is made by `python2_pickle`


def features(items: int = 3, size: int = 5, kinds: tuple[str, ...] = ("image_feat", "image_rnn_feat")) -> Features:
    rng = np.random.default_rng(0)
    return {
        f"20000{item}_{item + 1}": {kind: rng.standard_normal(size).astype(np.float32) for kind in kinds}
        for item in range(items)
    }


def assert_same(found: Features, wanted: Features) -> None:
    assert list(found) == list(wanted)
    for key, item in wanted.items():
        assert list(found[key]) == list(item)
        for kind, vector in item.items():
            assert found[key][kind].dtype == np.float32
            assert np.array_equal(found[key][kind], vector)


def python2_pickle(content: Features, code: str = "f4", order: str = "<") -> bytes:
    """Protocol 0 as Python 2's numpy writes it: arrays as byte strings, keys as unicode."""

    def string(data: bytes) -> bytes:
        text = data.decode("latin1").encode("unicode_escape").replace(b"'", b"\\'")
        return b"S'" + text + b"'\n"

    def array(vector: np.ndarray) -> bytes:
        data = vector.astype(np.dtype(code).newbyteorder(order)).tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
            + b"(I1\n(I%d\ntcnumpy\ndtype\n(S'%b'\nI0\nI1\ntR" % (len(vector), code.encode())
            + b"(I3\nS'%b'\nNNNI-1\nI-1\nI0\ntbI00\n" % order.encode()
            + string(data)
            + b"tb"
        )

    body = bytearray(b"(d")
    for key, item in content.items():
        inner = b"".join(b"S'" + kind.encode() + b"'\n" + array(vector) + b"s" for kind, vector in item.items())
        body += b"V" + key.encode("raw_unicode_escape") + b"\n(d" + inner + b"s"
    return bytes(body + b".")


@pytest.mark.parametrize("kinds", [("image_feat", "image_rnn_feat"), ("image_feat",)], ids=len)
@pytest.mark.parametrize("code, order", [("f4", "<"), ("f4", ">"), ("f8", "<")])
def test_python_2_pickles_are_read(tmp_path: Path, code: str, order: str, kinds: tuple[str, ...]) -> None:
    wanted = features(kinds=kinds)
    (tmp_path / "test_features.pkl").write_bytes(python2_pickle(wanted, code, order))
    assert_same(read_features(tmp_path / "test_features.pkl"), wanted)


def test_the_test_pickles_are_what_numpy_reads() -> None:
    assert_same(pickle.loads(python2_pickle(features()), encoding="latin1"), features())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_of_python_3_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(features(), protocol))
    assert_same(read_features(tmp_path / "a.pkl"), features())


def test_keys_that_python_2_wrote_as_bytes_are_text(tmp_path: Path) -> None:
    content = python2_pickle({"key": features(1)["200000_1"]}).replace(b"Vkey\n", b"S'\\xc3\\xa9_1'\n")
    (tmp_path / "a.pkl").write_bytes(content)
    assert list(read_features(tmp_path / "a.pkl")) == ["é_1"]


def test_lists_of_floats_are_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"1_1": {"image_feat": [0.5, -1.0]}}))
    assert_same(read_features(tmp_path / "a.pkl"), {"1_1": {"image_feat": np.float32([0.5, -1.0])}})


class Command:
    """Unpickled, it would leave a file behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_in_a_pickle_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "executed"
    content = pickle.dumps({"1_1": Command(target), **features()}, protocol)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pkl was refused: it asks for (posix|nt)\.system, which"):
        read_features(tmp_path / "a.pkl")
    assert not target.exists()
    pickle.loads(content)
    assert target.exists(), "the pickle of this test does nothing"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "asks for numpy.load"),
        (b"(ios\nsystem\n.", "asks for os.system"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(I1\n(I0\ntS'b'\ntR.", "builds an array of 1"),
        (b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "encodes 'abc' as 'rot13'"),
        (b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'?'\ntb.", "numpy type with the state"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(dS'function'\nNsb.", "changes the state of the reader itself"),
        (b"Pname\n.", "an object outside the file"),
    ],
)
def test_anything_but_arrays_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.pkl was refused: it .*{message}.*nothing in it was executed"):
        read_features(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "content, message",
    [
        (python2_pickle(features())[:-40], "is cut off, damaged"),
        (b"", "is cut off, damaged"),
        (b"no pickle", "is cut off, damaged"),
        (pickle.dumps({}), "holds dict"),
        (pickle.dumps([1, 2]), "holds list"),
        (pickle.dumps({1: {}}), "int 1 has dict"),
        (pickle.dumps({"1_1": 3}), "expected a dict of"),
        (pickle.dumps({"1_1": {"image_feat": "text"}}), "image_feat of 1_1 is str 'text'"),
        (pickle.dumps({"1_1": {"image_feat": np.arange(3)}}, 2), "image_feat of 1_1 is a numpy array of type i8"),
        (pickle.dumps({"1_1": {"image_feat": np.array([{}, 1])}}, 2), "is a numpy array of type O8"),
        (pickle.dumps({"1_1": {"image_feat": np.zeros((2, 2), np.float32)}}, 2), "expected vectors"),
        (pickle.dumps({"1_1": {"other": np.zeros(2, np.float32)}}, 2), "expected vectors image_feat"),
        (python2_pickle(features()).replace(b"(I5\nt", b"(I6\nt", 1), r"shape \(6,\) of float32 and 20 bytes"),
        (python2_pickle(features()).replace(b"(I5\nt", b"(I-5\nt", 1), r"shape \(-5,\)"),
        (python2_pickle(features(2) | {"9_9": features(1, 7)["200000_1"]}), "9_9 has features .*two models"),
        (python2_pickle(features(2) | {"9_9": features(1, 5, ("image_feat",))["200000_1"]}), "9_9 has features"),
    ],
)
def test_damaged_and_foreign_pickles_are_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.pkl.*{message}"):
        read_features(tmp_path / "a.pkl")


def test_safetensors_hold_keys_and_two_matrices(tmp_path: Path) -> None:
    wanted = features()
    write_features(tmp_path / "a.safetensors", wanted)
    assert_same(read_features(tmp_path / "a.safetensors"), wanted)
    tensors = load_file(tmp_path / "a.safetensors")
    assert bytes(tensors.pop("keys")) == b'["200000_1", "200001_2", "200002_3"]'
    assert {name: (bank.shape, bank.dtype) for name, bank in tensors.items()} == {
        "image_feat": ((3, 5), np.float32),
        "image_rnn_feat": ((3, 5), np.float32),
    }
    assert np.array_equal(tensors["image_feat"][1], wanted["200001_2"]["image_feat"])
    write_features(tmp_path / "b.safetensors", features(kinds=("image_feat",)))
    assert set(load_file(tmp_path / "b.safetensors")) == {"keys", "image_feat"}


def test_what_is_no_feature_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.pkl"):
        read_features(tmp_path / "nowhere.pkl")
    with pytest.raises(ValueError, match="no features"):
        write_features(tmp_path / "a.safetensors", {})
    with pytest.raises(ValueError, match="9_9 has features"):
        write_features(tmp_path / "a.safetensors", features() | {"9_9": {"image_feat": np.zeros(5)}})
    assert not list(tmp_path.iterdir())
    keys = np.frombuffer(b'["1_1"]', np.uint8)
    for tensors in ({"keys": keys, "image_feat": np.zeros((2, 3), np.float32)}, {"image_feat": np.zeros((1, 3))}):
        save_file(tensors, tmp_path / "a.safetensors")
        with pytest.raises(ValueError, match="a.safetensors .*xtract them again"):
            read_features(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40))
    with pytest.raises(ValueError, match="cut off"):
        read_features(tmp_path / "a.safetensors")
