"""Damaged photos are named, intact ones keep their own mode."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from data_scripts.images import check_images, open_image


def noise(mode="RGB", size=(48, 64)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "WEBP")]
)
def test_image_keeps_its_mode_from_path_and_from_bytes(tmp_path, mode, form):
    data = encoded(noise("RGB").quantize(16) if mode == "P" else noise(mode), form)
    (tmp_path / "photo").write_bytes(data)
    for source in (data, tmp_path / "photo", str(tmp_path / "photo"), {"path": "x", "bytes": data}):
        image = open_image(source)
        assert (image.mode, image.size) == (mode, (48, 64))
        image.tobytes()  # decoded: nothing is read from the file any more


def test_sixteen_bit_png_and_exif_orientation_are_left_alone(tmp_path):
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png").mode == "I;16"
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_image(encoded(noise(), "JPEG", exif=exif))
    assert turned.size == (48, 64) and turned.getexif()[0x0112] == 6


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="B000NOPE.jpg"):
        open_image(tmp_path / "B000NOPE.jpg")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_image_is_refused_and_named(tmp_path, form, part):
    data = encoded(noise(), form)
    (tmp_path / "cut.jpg").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ValueError, match=r"cut\.jpg: .*(truncated|damaged|not an image)"):
        open_image(tmp_path / "cut.jpg")


def test_truncation_is_never_tolerated():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "zero bytes"), (b"<html>not found</html>", "not an image file")]
)
def test_files_that_are_no_image(tmp_path, content, message):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.jpg: .*{message}"):
        open_image(tmp_path / "bad.jpg")
    with pytest.raises(ValueError, match=rf"row 7: .*{message}"):
        open_image(content, name="row 7")


def test_row_without_image_and_folder_are_explained(tmp_path):
    with pytest.raises(ValueError, match="has no image"):
        open_image(None)
    with pytest.raises(ValueError, match="this is a folder"):
        open_image(tmp_path)


def test_check_lists_every_bad_file_in_order(tmp_path):
    good, data = [], encoded(noise(), "JPEG")
    for k in range(6):
        (tmp_path / f"{k}.jpg").write_bytes(data)
        good.append(tmp_path / f"{k}.jpg")
    (tmp_path / "1.jpg").write_bytes(data[:100])
    (tmp_path / "4.jpg").write_bytes(b"")
    problems = check_images([*good, tmp_path / "9.jpg", {"path": "row.jpg", "bytes": b""}], workers=3)
    assert [path.rsplit("/", 1)[-1] for path, _ in problems] == ["1.jpg", "4.jpg", "9.jpg", "row.jpg"]
    assert [word in text for (_, text), word in zip(problems, ("damaged", "zero", "found", "zero"), strict=True)] == [
        True
    ] * 4
    assert check_images(good[2:4]) == []
