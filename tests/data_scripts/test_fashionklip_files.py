"""FashionKLIP's files: archives read picture by picture, lines with their problems named, nothing dropped in silence."""

import json
import multiprocessing
import pickle
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from data_scripts.fashionklip_files import (
    Caption,
    Concept,
    FashionKLIPFiles,
    KlipLayout,
    NpzImages,
    read_captions,
    read_concepts,
    read_fathers,
    read_image_reference,
    read_lines,
    write_captions,
    write_concepts,
    write_fathers,
    write_image_reference,
    write_lines,
    write_npz,
)
from data_scripts.prepare import main, prepare

# A small tree in the layout of the published commands, made with the original program's own conventions.
GOLDEN = Path(__file__).parents[1] / "golden" / "fashionklip" / "data_small"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def picture(seed, side=4):
    return np.random.default_rng(seed).standard_normal((3, side, side)).astype(np.float32)


def lines(file, *rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def spoil(archive, image_id):
    """Flip a byte in a member's data; the archive's directory stays as it is."""
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo(f"{image_id}.npy")
    data = bytearray(archive.read_bytes())
    name, extra = (int.from_bytes(data[info.header_offset + at :][:2], "little") for at in (26, 28))
    data[info.header_offset + 30 + name + extra + info.compress_size // 2] ^= 0xFF
    archive.write_bytes(data)


def build(root, config, **options):
    return prepare(FashionKLIPFiles, config, root, cache_dir=root.parent / "cache", **options)


@pytest.fixture
def tree(tmp_path):
    """Two training captions of three pictures, a validation caption, two concepts each, a pool of two pictures."""
    root = tmp_path / "klip"
    train, val, kb = root / "fashiongen/train", root / "fashiongen/val", root / "fashion_kb"
    phrases = {"phrases": ["olive coat", "coat"], "match_phrases": ["coat"]}
    lines(
        train / "fg_queries_phrases.jsonl",
        {"query_id": 7, "query_text": "Olive coat", "item_ids": ["12", 13]} | phrases,
        {"query_id": "b", "query_text": "", "item_ids": ["x\u00e9"], "phrases": [], "match_phrases": []},
    )
    lines(train / "fg_concepts_queries.jsonl", {"query_id": 1, "query_text": "a photo of coat", "phrase": "coat"})
    lines(train / "fg_concepts_fathers.jsonl", {"query_id": 1, "phrase": "coat", "phrase_father": "garment"})
    write_npz(train / "train.4.npz", [("12", picture(0)), ("13", picture(1)), ("x\u00e9", picture(2))])
    lines(val / "fg_val_queries.jsonl", {"query_id": 9, "query_text": "red hat", "item_ids": ["20"]})
    lines(val / "fg_val_images.jsonl", {"image_id": "20", "item_ids": [9]})
    write_npz(val / "val.4.npz", [("20", picture(3))])
    lines(kb / "concepts_queries.jsonl", {"query_id": 2, "query_text": "a photo of hat", "phrase": "hat"})
    lines(kb / "concepts_fathers.jsonl", {"query_id": 2, "phrase": "hat", "phrase_father": ""})
    write_npz(kb / "concepts_images_sample.4.npz", [("500", picture(4)), ("501", picture(5))])
    return root


# Archives


def test_pictures_come_back_bit_for_bit_in_the_order_of_the_archives(tmp_path):
    ids = ["12", "007", "\u65e5\u672c \U0001f455", "a/b.npy", "-3"]
    assert write_npz(tmp_path / "a.npz", ((i, picture(n)) for n, i in enumerate(ids[:3]))) == 3
    assert write_npz(tmp_path / "b.npz", ((i, picture(n)) for n, i in enumerate(ids[3:], 3))) == 2
    images = NpzImages([tmp_path / "a.npz", str(tmp_path / "b.npz")])
    assert images.ids == ids and len(images) == 5 and "007" in images and "7" not in images
    for n, image_id in enumerate(ids):
        assert images[image_id].dtype == np.float32 and np.array_equal(images[image_id], picture(n))
    batch = images.batch(["-3", "12", "-3"])
    assert batch.shape == (3, 3, 4, 4) and np.array_equal(batch, np.stack([picture(4), picture(0), picture(4)]))


def test_archives_are_those_of_numpy(tmp_path):
    write_npz(tmp_path / "own.npz", [("12", picture(0))])
    with np.load(tmp_path / "own.npz") as loaded:
        assert np.array_equal(loaded["12"], picture(0)) and loaded["12"].dtype == np.float32
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "numpy.npz", **{"12": picture(0), "13": picture(1)})
        assert np.array_equal(NpzImages(tmp_path / "numpy.npz")["13"], picture(1))


def test_one_content_gives_one_archive(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, [("1", picture(0)), ("2", picture(1))])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # not the time of writing


def test_opening_reads_no_picture(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", ((str(n), picture(n)) for n in range(300)))
    read = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *a, **k: read.append(a[1]) or original(*a, **k))
    images = NpzImages(tmp_path / "a.npz")
    assert len(images) == 300 and "299" in images and images.ids[-1] == "299" and not read
    images["150"], images.batch(["3", "4"])
    assert read == ["150.npy", "3.npy", "4.npy"]


def test_pickled_archive_opens_its_files_itself(tmp_path):
    write_npz(tmp_path / "a.npz", [("1", picture(0)), ("2", picture(1))])
    images = NpzImages(tmp_path / "a.npz")
    images["1"]
    copy = pickle.loads(pickle.dumps(images))
    assert copy.ids == ["1", "2"] and np.array_equal(copy["2"], picture(1))


def _read_many(images, seed, right):
    order = np.random.default_rng(seed).integers(0, len(images), 400)
    right.value = all(np.array_equal(images[str(n)], picture(n)) for n in order)


def test_forked_processes_read_side_by_side(tmp_path):
    """An open file's position is shared with forked processes: each must open the archive anew."""
    context = multiprocessing.get_context("fork")
    write_npz(tmp_path / "a.npz", ((str(n), picture(n)) for n in range(50)))
    images = NpzImages(tmp_path / "a.npz")
    images["0"]
    right = [context.Value("b", False) for _ in range(3)]
    processes = [context.Process(target=_read_many, args=(images, seed, r)) for seed, r in enumerate(right)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [bool(r.value) for r in right] == [True] * 3


def test_other_floats_become_float32_and_pixels_are_refused(tmp_path):
    for kind in (np.float16, np.float64, ">f4"):
        np.savez(tmp_path / "a.npz", **{"1": picture(0).astype(kind)})
        read = NpzImages(tmp_path / "a.npz")["1"]
        assert read.dtype == np.float32 and read.dtype.isnative
        assert np.array_equal(read, picture(0).astype(kind).astype(np.float32))
    for kind in (np.uint8, np.int64, np.complex64, bool):
        np.savez(tmp_path / "a.npz", **{"1": np.zeros((3, 4, 4), kind)})
        with pytest.raises(ValueError, match=rf"a\.npz: image '1' holds {np.dtype(kind)}; expected preprocessed"):
            NpzImages(tmp_path / "a.npz")["1"]


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (4, 4, 3), (3, 4, 5), (1, 3, 4, 4), ()])
def test_array_that_is_no_square_picture_is_named(tmp_path, shape):
    np.savez(tmp_path / "a.npz", **{"ok": picture(0), "bad": np.zeros(shape, np.float32)})
    images = NpzImages(tmp_path / "a.npz")
    images["ok"]
    with pytest.raises(ValueError, match=r"a\.npz: image 'bad' has shape .*expected \(3, side, side\)"):
        images["bad"]
    with pytest.raises(ValueError, match="image 'bad' has shape"):
        write_npz(tmp_path / "b.npz", [("bad", np.zeros(shape, np.float32))])
    assert not list(tmp_path.glob("b.npz*"))


def test_pictures_of_two_sizes_are_refused_across_archives(tmp_path):
    write_npz(tmp_path / "a.npz", [("1", picture(0))])
    write_npz(tmp_path / "b.npz", [("2", picture(0, 5))])
    with pytest.raises(ValueError, match=r"b\.npz: image '2' has shape \(3, 5, 5\), others have \(3, 4, 4\)"):
        NpzImages([tmp_path / "a.npz", tmp_path / "b.npz"]).batch(["1", "2"])
    with pytest.raises(ValueError, match=r"image '2' has shape \(3, 5, 5\), others"):
        write_npz(tmp_path / "c.npz", [("1", picture(0)), ("2", picture(0, 5))])


def test_damaged_member_is_named_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, ((str(n), picture(n)) for n in range(3)))
    spoil(path, "1")
    images = NpzImages(path)
    with pytest.raises(ValueError, match=r"a\.npz: image '1' is damaged \(Bad CRC-32"):
        images["1"]
    assert np.array_equal(images["2"], picture(2))
    np.savez_compressed(path, **{"0": picture(0), "1": picture(1)})
    spoil(path, "0")
    with pytest.raises(ValueError, match=r"image '0' is damaged"):
        NpzImages(path)["0"]


def test_member_that_is_no_plain_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **{"objects": np.array([{"a": 1}], dtype=object)})  # reading it would run code
    with pytest.raises(ValueError, match="image 'objects' is damaged"):
        NpzImages(path)["objects"]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("short.npy", b"\x93NUMPY\x01\x00")
    with pytest.raises(ValueError, match="image 'short' is damaged"):
        NpzImages(path)["short"]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("photo.jpg", b"x")
    with pytest.raises(ValueError, match=r"a\.npz: holds photo\.jpg; expected one \.npy member"):
        NpzImages(path)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_cut_off_archive_is_refused_when_it_is_opened(tmp_path, keep):
    write_npz(tmp_path / "a.npz", ((str(n), picture(n)) for n in range(3)))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.npz: not an npz archive, or cut off"):
        NpzImages(tmp_path / "a.npz")


def test_missing_archive_and_unknown_ids_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image archive at .*gone\.npz"):
        NpzImages(tmp_path / "gone.npz")
    with pytest.raises(ValueError, match="no archive of images was given"):
        NpzImages([])
    write_npz(tmp_path / "a.npz", [("1", picture(0))])
    with pytest.raises(KeyError, match=r"'9' is in no archive.*a\.npz \(1 images\)"):
        NpzImages(tmp_path / "a.npz")["9"]
    with pytest.raises(KeyError, match=r"2 images are in no archive, first: 8, 9; .*a\.npz"):
        NpzImages(tmp_path / "a.npz").batch(["1", "8", "9"])


def test_id_that_comes_twice_is_refused(tmp_path):
    write_npz(tmp_path / "a.npz", [("1", picture(0))])
    write_npz(tmp_path / "b.npz", [("2", picture(0)), ("1", picture(1))])
    with pytest.raises(ValueError, match=r"b\.npz: image '1' is there twice, also in .*a\.npz"):
        NpzImages([tmp_path / "a.npz", tmp_path / "b.npz"])
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("1.npy", b"other")
    with pytest.raises(ValueError, match=r"a\.npz: image '1' is there twice, also in .*a\.npz"):
        NpzImages(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="image 5 comes twice"):
        write_npz(tmp_path / "c.npz", [("5", picture(0)), (5, picture(0))])


@pytest.mark.parametrize("image_id", ["", "a\0b"])
def test_id_that_no_member_can_have_is_refused(tmp_path, image_id):
    with pytest.raises(ValueError, match="expected an id with no zero byte"):
        write_npz(tmp_path / "a.npz", [(image_id, picture(0))])


def test_interrupted_writing_leaves_the_old_archive(tmp_path):
    write_npz(tmp_path / "a.npz", [("1", picture(0))])

    def stops():
        yield "2", picture(1)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_npz(tmp_path / "a.npz", stops())
    assert NpzImages(tmp_path / "a.npz").ids == ["1"] and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# Lines

ODD_TEXTS = [
    "",
    "  two  blanks ",
    "line\u2028separator\u2029and\x85next",
    'quote " back\\slash\ttab\nnew line\r',
    "e\u0301 \u00e9 \ufb01 \uff21",
    "\u202eright to left",
    "\U0001f457 \u65e5\u672c\u8a9e",
    "\x00 zero",
    "\ufeffmark",
    "&amp; <end_of_text>",
]


def test_odd_texts_come_back_as_they_were(tmp_path):
    captions = [Caption(str(n), text, [f"i{n}"], [text], []) for n, text in enumerate(ODD_TEXTS)]
    write_captions(tmp_path / "c.jsonl", captions)
    assert read_captions(tmp_path / "c.jsonl") == captions
    concepts = [Concept(str(n), f"a photo of {text}", text) for n, text in enumerate(ODD_TEXTS)]
    write_concepts(tmp_path / "q.jsonl", concepts)
    assert read_concepts(tmp_path / "q.jsonl") == concepts
    fathers = {text: ODD_TEXTS[n - 1] for n, text in enumerate(ODD_TEXTS)}
    write_fathers(tmp_path / "f.jsonl", concepts, fathers)
    assert read_fathers(tmp_path / "f.jsonl") == fathers


def test_ids_are_strings_here_and_numbers_in_the_files_where_they_read_as_such(tmp_path):
    rows = [Caption(i, "t", ["1", "x"]) for i in ("7", "007", "-1", "a b", "\u0667", "99999999999999999999")]
    write_captions(tmp_path / "c.jsonl", rows)
    written = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text("utf-8").splitlines()]
    assert [row["query_id"] for row in written] == [7, "007", "-1", "a b", "\u0667", 99999999999999999999]
    assert written[0]["item_ids"] == ["1", "x"] and "phrases" not in written[0]
    assert read_captions(tmp_path / "c.jsonl") == rows


def test_caption_without_phrases_differs_from_one_with_none(tmp_path):
    lines(
        tmp_path / "c.jsonl",
        {"query_id": 1, "query_text": "a", "item_ids": []},
        {"query_id": 2, "query_text": "b", "item_ids": [5], "phrases": [], "match_phrases": ["x"], "more": 1},
    )
    first, second = read_captions(tmp_path / "c.jsonl")
    assert first.phrases is None and first.match_phrases is None and first.item_ids == []
    assert second.phrases == [] and second.match_phrases == ["x"] and second.item_ids == ["5"]


def test_image_reference_takes_the_single_caption_from_text(tmp_path):
    lines(tmp_path / "r.jsonl", {"image_id": "12", "item_ids": [7, "8"]}, {"image_id": 13, "text": 9})
    reference = read_image_reference(tmp_path / "r.jsonl")
    assert reference == {"12": ["7", "8"], "13": ["9"]}
    write_image_reference(tmp_path / "again.jsonl", reference)
    assert read_image_reference(tmp_path / "again.jsonl") == reference
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0]) == {"image_id": "12", "item_ids": [7, 8]}
    lines(tmp_path / "r.jsonl", {"image_id": "12"})
    with pytest.raises(ValueError, match=r"r\.jsonl, line 1: lacks item_ids, and text in its place"):
        read_image_reference(tmp_path / "r.jsonl")


def test_last_father_of_a_phrase_counts(tmp_path):
    rows = [("coat", "garment"), ("hat", ""), ("coat", "outerwear")]
    lines(tmp_path / "f.jsonl", *({"query_id": 1, "phrase": p, "phrase_father": f} for p, f in rows))
    assert read_fathers(tmp_path / "f.jsonl") == {"coat": "outerwear", "hat": ""}


def test_blank_lines_byte_order_mark_and_windows_ends_are_no_problem(tmp_path):
    row = '{"query_id": 1, "query_text": "caf\u00e9", "item_ids": ["2"]}'
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n \r\n{row.replace('1', '3', 1)}".encode())
    assert [c.query_id for c in read_captions(tmp_path / "c.jsonl")] == ["1", "3"]
    assert [number for number, _ in read_lines(tmp_path / "c.jsonl", ())] == [1, 3]


GOOD = '{"query_id": 1, "query_text": "a", "item_ids": ["1"], "phrases": [], "match_phrases": []}'
BROKEN = [
    ('{"query_id": 2, "query_text": "b"', r"not valid JSON \(.* at column \d+\)"),
    ('{"query_id": 2, "query_text": "b"}', "lacks item_ids"),
    ("{}", "lacks query_id, query_text, item_ids"),
    ("[1, 2]", r"expected an object, got '\[1, 2\]'"),
    ("null", "expected an object, got 'None'"),
    ('{"query_id": 2, "query_text": null, "item_ids": []}', "query_text: expected a text, got None"),
    ('{"query_id": 2, "query_text": 3, "item_ids": []}', "query_text: expected a text, got 3"),
    ('{"query_id": null, "query_text": "b", "item_ids": []}', "query_id: expected an id, .*, got None"),
    ('{"query_id": 2.5, "query_text": "b", "item_ids": []}', "query_id: expected an id, .*, got 2.5"),
    ('{"query_id": true, "query_text": "b", "item_ids": []}', "query_id: expected an id, .*, got True"),
    ('{"query_id": "", "query_text": "b", "item_ids": []}', "query_id: expected an id, .*, got ''"),
    ('{"query_id": 2, "query_text": "b", "item_ids": "12"}', "item_ids: expected a list of ids, got 12"),
    ('{"query_id": 2, "query_text": "b", "item_ids": [["1"]]}', r"item_ids: expected an id, .*, got \['1'\]"),
    ('{"query_id": 2, "query_text": "b", "item_ids": [], "phrases": "x"}', "phrases: expected a list of strings"),
    ('{"query_id": 2, "query_text": "b", "item_ids": [], "match_phrases": [1]}', "match_phrases: expected a list"),
    ('{"query_id": 2, "query_text": "half \\ud83d", "item_ids": []}', "holds half of a surrogate pair"),
    ('{"query_id": 2, "query_text": "caf\udce9", "item_ids": []}', "not UTF-8 text at byte 34"),
]


@pytest.mark.parametrize(("line", "problem"), BROKEN)
def test_broken_line_is_named_or_counted_on_request(tmp_path, caplog, line, problem):
    path = tmp_path / "c.jsonl"
    path.write_bytes(f"{GOOD}\n{line}\n{GOOD.replace('1', '3', 1)}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=rf"c\.jsonl, line 2[:,] {problem}"):
        read_captions(path)
    left_out = []
    assert [c.query_id for c in read_captions(path, "skip", left_out)] == ["1", "3"]
    assert len(left_out) == 1 and left_out[0].startswith("line 2")
    assert f"{path}: 1 lines left out: line 2" in caplog.text


def test_whole_surrogate_pair_is_a_character(tmp_path):
    (tmp_path / "c.jsonl").write_text(GOOD.replace('"a"', '"\\ud83d\\udc57"'))
    assert read_captions(tmp_path / "c.jsonl")[0].query_text == "\U0001f457"


def test_all_problems_of_a_file_are_one_count(tmp_path, caplog):
    (tmp_path / "c.jsonl").write_text("\n".join(["{", '{"query_id": 2}', GOOD, GOOD.replace('["1"]', "5")]))
    assert len(read_captions(tmp_path / "c.jsonl", lines="skip")) == 1
    assert caplog.text.count("lines left out") == 1 and "3 lines left out: line 1" in caplog.text
    with pytest.raises(ValueError, match='lines must be "error" or "skip", got \'drop\''):
        read_captions(tmp_path / "c.jsonl", lines="drop")
    with pytest.raises(FileNotFoundError, match=r"no file at .*gone\.jsonl"):
        read_captions(tmp_path / "gone.jsonl")


def test_other_files_name_their_problems(tmp_path):
    path = tmp_path / "f.jsonl"
    for read, row, problem in (
        (read_concepts, {"query_id": 1, "query_text": "a photo of x"}, "line 1: lacks phrase"),
        (
            read_concepts,
            {"query_id": 1, "query_text": "t", "phrase": None},
            "line 1, phrase: expected a text, got None",
        ),
        (read_fathers, {"query_id": 1, "phrase": "x"}, "line 1: lacks phrase_father"),
        (read_fathers, {"phrase": "x", "phrase_father": ["y"]}, r"line 1, phrase_father: expected a text, got \['y'\]"),
        (read_image_reference, {"item_ids": [1]}, "line 1: lacks image_id"),
        (read_image_reference, {"image_id": "1", "item_ids": 1}, "line 1, item_ids: expected a list of ids, got 1"),
    ):
        lines(path, row)
        with pytest.raises(ValueError, match=rf"f\.jsonl, {problem}"):
            read(path)
        assert not read(path, "skip")


def test_id_of_two_lines_is_refused_whatever_its_type_even_where_lines_are_skipped(tmp_path):
    for read, rows, name in (
        (read_captions, [{"query_id": i, "query_text": "t", "item_ids": []} for i in (5, 6, "5")], "query_id"),
        (read_concepts, [{"query_id": i, "query_text": "t", "phrase": "p"} for i in (5, 6, "5")], "query_id"),
        (read_image_reference, [{"image_id": i, "item_ids": []} for i in (5, 6, "5")], "image_id"),
    ):
        lines(tmp_path / "f.jsonl", *rows)
        for policy in ("error", "skip"):
            with pytest.raises(ValueError, match=rf"f\.jsonl: 1 {name} occur twice, first: 5"):
                read(tmp_path / "f.jsonl", policy)


def test_interrupted_lines_leave_the_old_file(tmp_path):
    write_lines(tmp_path / "sub/f.jsonl", [{"a": 1}])

    def stops():
        yield {"a": 2}
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_lines(tmp_path / "sub/f.jsonl", stops())
    assert (tmp_path / "sub/f.jsonl").read_text() == '{"a": 1}\n' and len(list((tmp_path / "sub").iterdir())) == 1


# The tree


def test_tree_is_found_also_below_tmp(tree, tmp_path):
    layout = KlipLayout.find(tree)
    assert (
        layout.train_captions.name == "fg_queries_phrases.jsonl" and layout.concepts.name == "fg_concepts_queries.jsonl"
    )
    assert (
        layout.val_captions.name == "fg_val_queries.jsonl" and layout.val_image_reference.name == "fg_val_images.jsonl"
    )
    assert layout.kb_concepts.name == "concepts_queries.jsonl" and layout.kb_fathers.name == "concepts_fathers.jsonl"
    assert [p.name for p in layout.kb_images] == ["concepts_images_sample.4.npz"]
    (tmp_path / "above").mkdir()
    tree.rename(tmp_path / "above/tmp")
    assert KlipLayout.find(tmp_path / "above").root == tmp_path / "above/tmp"


def test_pool_of_several_archives_is_one(tree):
    write_npz(tree / "fashion_kb/b.4.npz", [("word", picture(6))])
    layout = KlipLayout.find(tree)
    assert NpzImages(layout.kb_images).ids == ["word", "500", "501"]
    assert build(tree, "pool")["train"]["image_id"][:] == ["word", "500", "501"]


def test_wrong_tree_is_explained(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="folder not found: .*nowhere"):
        KlipLayout.find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither fashiongen nor fashion_kb"):
        KlipLayout.find(tmp_path / "empty")
    lines(tree / "fashiongen/train/other_queries_phrases.jsonl")
    with pytest.raises(ValueError, match="fg_queries_phrases.jsonl, other_queries_phrases.jsonl all end with"):
        KlipLayout.find(tree)
    (tmp_path / "half/fashion_kb").mkdir(parents=True)
    half = KlipLayout.find(tmp_path / "half")
    for name in ("train_captions", "kb_images"):
        with pytest.raises(FileNotFoundError, match=f"no {name.replace('_', ' ')} found"):
            half.need(name)


# The builder


def test_pairs_hold_one_row_per_caption_and_picture(tree):
    rows = build(tree, "pairs")
    assert rows["train"][:] == {
        "query_id": ["7", "7", "b"],
        "query_text": ["Olive coat", "Olive coat", ""],
        "image_id": ["12", "13", "x\u00e9"],
        "phrases": [["olive coat", "coat"]] * 2 + [[]],
        "match_phrases": [["coat"]] * 2 + [[]],
    }
    assert rows["validation"]["image_id"][:] == ["20"] and list(rows) == ["train", "validation"]
    queries = build(tree, "queries")
    assert queries["train"]["item_ids"][:] == [["12", "13"], ["x\u00e9"]] and queries["train"][1]["query_text"] == ""


def test_pictures_and_concepts_are_rows(tree):
    images = build(tree, "images", num_proc=2)
    assert images["train"]["image_id"][:] == ["12", "13", "x\u00e9"] and images["validation"]["image_id"][:] == ["20"]
    rows = images["train"].with_format("numpy")
    assert rows[2]["pixels"].dtype == np.float32 and np.array_equal(rows[2]["pixels"], picture(2))
    assert np.array_equal(build(tree, "pool")["train"].with_format("numpy")[1]["pixels"], picture(5))
    assert build(tree, "pool", images="absent")["train"].column_names == ["image_id"]
    concepts = build(tree, "concepts")["train"]
    assert [(c["query_id"], c["phrase"], c["father"], c["source"]) for c in concepts] == [
        ("1", "coat", "garment", "data"),
        ("2", "hat", "", "kb"),
    ]
    # The data concepts alone are enough, and so are those of the knowledge base.
    (tree / "fashion_kb/concepts_queries.jsonl").unlink()
    assert build(tree, "concepts")["train"]["source"][:] == ["data"]
    (tree / "fashiongen/train/fg_concepts_queries.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="no concepts found"):
        build(tree, "concepts")


def test_streaming_reads_only_the_pictures_that_are_taken(tree, tmp_path):
    spoil(tree / "fashiongen/train/train.4.npz", "13")
    builder = FashionKLIPFiles(config_name="images", data_dir=tree, cache_dir=str(tmp_path / "other"))
    rows = iter(builder.as_streaming_dataset(split="train"))
    assert next(rows)["image_id"] == "12"
    with pytest.raises(ValueError, match=r"train\.4\.npz: image '13' is damaged"):
        next(rows)
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as failure:
        build(tree, "images")
    assert "train.4.npz: image '13' is damaged" in str(failure.value.__cause__)


def test_builder_opens_an_archive_once_however_many_pieces_it_has(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("data_scripts.source_files.ROWS_PER_SHARD", 1)
    builder = FashionKLIPFiles(config_name="images", data_dir=tree, cache_dir=str(tmp_path / "other"))
    (train,) = (g for g in builder._split_generators(None) if g.name == "train")
    assert len(train.gen_kwargs["shards"]) == 3
    opened, original = [], zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *a, **k: opened.append(a[1]) or original(*a, **k))
    assert len(list(builder._generate_examples(**train.gen_kwargs))) == 3 and len(opened) == 1


def test_picture_in_no_archive_is_listed_or_counted_on_request(tree, caplog):
    write_npz(tree / "fashiongen/train/train.4.npz", [("13", picture(1)), ("x\u00e9", picture(2))])
    with pytest.raises(
        ValueError, match=r"fg_queries_phrases\.jsonl: 1 captions' pictures are missing: query 7: image 12"
    ):
        build(tree, "pairs")
    for _ in range(2):  # the prepared copy says so again
        caplog.clear()
        assert build(tree, "pairs", missing="skip")["train"]["image_id"][:] == ["13", "x\u00e9"]
        assert "1 captions' pictures are missing" in caplog.text or "Rows left out" in caplog.text
    assert build(tree, "pairs", images="absent")["train"]["image_id"][:] == ["12", "13", "x\u00e9"]
    assert len(build(tree, "queries")["train"]) == 2
    (tree / "fashiongen/train/train.4.npz").unlink()
    with pytest.raises(FileNotFoundError, match="no train images found"):
        build(tree, "pairs")
    assert len(build(tree, "pairs", splits="validation")["validation"]) == 1


def test_caption_without_pictures_is_not_dropped_in_silence(tree, caplog):
    file = tree / "fashiongen/val/fg_val_queries.jsonl"
    rows = [
        {"query_id": 9, "query_text": "hat", "item_ids": ["20"]},
        {"query_id": 8, "query_text": "no", "item_ids": []},
    ]
    lines(file, *rows)
    with pytest.raises(ValueError, match=r"fg_val_queries\.jsonl: 1 captions' pictures are missing: query 8: no image"):
        build(tree, "pairs")
    assert build(tree, "pairs", missing="skip")["validation"]["query_id"][:] == ["9"]
    assert "query 8: no image" in caplog.text


def test_unreadable_lines_of_a_prepared_copy_are_named_each_time(tree, caplog):
    file = tree / "fashiongen/train/fg_queries_phrases.jsonl"
    file.write_text(file.read_text("utf-8") + '{"query_id": \n', "utf-8")
    for config in ("pairs", "queries"):
        with pytest.raises(ValueError, match=r"fg_queries_phrases\.jsonl, line 3: not valid JSON"):
            build(tree, config)
        for _ in range(2):
            caplog.clear()
            assert len(build(tree, config, lines="skip")["train"]) == {"pairs": 3, "queries": 2}[config]
            assert "1 lines left out" in caplog.text or "lines are unreadable: 1" in caplog.text


def test_changed_files_are_seen(tree):
    assert len(build(tree, "queries")["validation"]) == 1
    rows = [{"query_id": n, "query_text": "t", "item_ids": ["20"]} for n in range(3)]
    lines(tree / "fashiongen/val/fg_val_queries.jsonl", *rows)
    assert len(build(tree, "queries")["validation"]) == 3


def test_wrong_options_and_absent_parts_are_named(tree):
    with pytest.raises(ValueError, match='images must be "required" or "absent", got \'none\''):
        build(tree, "pairs", images="none")
    with pytest.raises(FileNotFoundError, match=r"nothing for test \(there: \['train', 'validation'\]\)"):
        build(tree, "pairs", splits=("test",))
    write_npz(tree / "fashiongen/val/val.4.npz", [("20", picture(3, 6))])
    with pytest.raises(ValueError, match=r"pictures of several sizes, .*train\.4\.npz: 4; .*val\.4\.npz: 6"):
        build(tree, "images")
    for file in (tree / "fashiongen").rglob("*.*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="no train captions found"):
        build(tree, "pairs")
    with pytest.raises(FileNotFoundError, match="no archive with pictures"):
        build(tree, "images")


def test_parquet_folder_holds_all_configurations(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "parquet"
    main(["--dataset", "fashionklip", "--data_dir", str(tree), "--output_dir", str(out)])
    assert (out / "README.md").is_file() and str(out) in capsys.readouterr().out
    for config, split, count in (("pairs", "train", 3), ("queries", "validation", 1), ("concepts", "train", 2)):
        assert len(datasets.load_dataset(str(out), config, split=split, cache_dir=tmp_path / "read")) == count
    pool = datasets.load_dataset(str(out), "pool", split="train", cache_dir=tmp_path / "read").with_format("numpy")
    assert np.array_equal(pool[0]["pixels"], picture(4)) and pool[0]["pixels"].dtype == np.float32
    (tree / "fashiongen/val/fg_val_queries.jsonl").write_text("{\n")
    arguments = ["--dataset", "fashionklip", "--data_dir", str(tree), "--configs", "queries", "--splits", "train"]
    main([*arguments, "--output_dir", str(tmp_path / "train_only")])  # the other split need not be readable
    with pytest.raises(SystemExit) as stop:
        main([*arguments[:-2], "--output_dir", str(tmp_path / "o"), "--option", "categories", "x"])
    assert stop.value.code == 2 and "fashionklip has lines" in capsys.readouterr().err
    main([*arguments[:-2], "--output_dir", str(tmp_path / "skipped"), "--option", "lines", "skip"])
    assert "lines are unreadable: 1" in (tmp_path / "skipped/README.md").read_text()


def test_tree_of_the_original_program_is_read(tmp_path):
    layout = KlipLayout.find(GOLDEN)
    captions, concepts, kb = (
        read_captions(layout.train_captions),
        read_concepts(layout.concepts),
        read_concepts(layout.kb_concepts),
    )
    assert (len(captions), len(concepts), len(kb)) == (24, 62, 42)
    assert captions[0].query_text == "Teal cotton tote bag with a round neck." and captions[0].item_ids == ["0"]
    assert read_fathers(layout.kb_fathers)["wool coat"] == "coat"
    reference = read_image_reference(layout.val_image_reference)
    assert reference["1003"] == ["501"] and len(reference) == 13
    assert {i for ids in reference.values() for i in ids} == {c.query_id for c in read_captions(layout.val_captions)}
    images = NpzImages(layout.train_images)
    assert images[captions[0].item_ids[0]].shape == (3, 16, 16)
    rows = prepare(FashionKLIPFiles, "pairs", GOLDEN, cache_dir=tmp_path)
    assert {split: len(r) for split, r in rows.items()} == {
        split: sum(len(c.item_ids) for c in read_captions(file))
        for split, file in (("train", layout.train_captions), ("validation", layout.val_captions))
    }
    with np.load(layout.kb_images[0]) as loaded:
        pool = prepare(FashionKLIPFiles, "pool", GOLDEN, cache_dir=tmp_path)["train"].with_format("numpy")
        assert pool["image_id"][:].tolist() == list(loaded)
        assert all(np.array_equal(row["pixels"], loaded[row["image_id"]]) for row in pool)
