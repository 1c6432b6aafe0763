"""What the builders share: the hash that finds a prepared copy again, and looking for missing images."""

import os
import time

import pytest

from data_scripts.source_files import content_hash, find_missing, split_generators


@pytest.fixture
def photos(tmp_path):
    """Photos at three levels, one behind a link to another folder, and a link that leads back up."""
    for name in ("images/0.jpg", "images/a/1.jpeg", "images/a/b/2.jpg", "elsewhere/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"photo")
    (tmp_path / "images/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/a/up").symlink_to(tmp_path / "images")
    return tmp_path / "images"


CHANGES = {
    "added": lambda folder: (folder / "a/b/new.jpg").touch(),
    "renamed": lambda folder: (folder / "a/1.jpeg").rename(folder / "a/1.png"),
    "deleted": lambda folder: (folder / "a/b/2.jpg").unlink(),
    "moved": lambda folder: (folder / "a/b/2.jpg").rename(folder / "a/2.jpg"),
    "added behind a link": lambda folder: (folder.parent / "elsewhere/4.jpg").touch(),
    "lost behind a link": lambda folder: (folder.parent / "elsewhere").rename(folder.parent / "away"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_of_photos_count_at_every_level(photos, change):
    before = content_hash([], [photos], [])
    assert content_hash([], [photos], []) == before
    flat = content_hash([], [photos], [], nested=False)
    CHANGES[change](photos)
    assert content_hash([], [photos], []) != before
    assert (content_hash([], [photos], [], nested=False) != flat) == (change == "lost behind a link")


def test_a_photo_of_another_size_or_time_counts_where_photos_are_opened(photos):
    before = [content_hash([], [photos], [], photo_times=times) for times in (False, True)]
    time.sleep(0.01)
    (photos / "a/b/2.jpg").write_bytes(b"again")
    after = [content_hash([], [photos], [], photo_times=times) for times in (False, True)]
    assert after[0] == before[0] and after[1] != before[1]


def test_a_link_that_leads_nowhere_is_a_missing_image(tmp_path):
    (tmp_path / "0.jpg").touch()
    (tmp_path / "1.jpg").symlink_to("0.jpg")
    (tmp_path / "2.jpg").symlink_to(tmp_path / "nowhere.jpg")
    paths = [os.path.join(tmp_path, f"{n}.jpg") for n in range(4)]
    assert find_missing(paths) == paths[2:]


def test_splits_without_rows_are_said_to_lack_photos_or_items():
    with pytest.raises(
        ValueError, match=r"d: no rows are left in any split \(train\); .*that the photos and items named there exist"
    ):
        split_generators({"train": []}, "d")
