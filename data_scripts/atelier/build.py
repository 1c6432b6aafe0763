"""Writing a world to disk: in parallel, resumable, with no half file at any moment.

Pictures and annotations are written in ``atelier/.partial`` and renamed to their place. A picture that is in its place
is complete; annotations get their place when the whole world is made; ``atelier/world.json`` then says "finished".
"""

import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from .designs import make_garment
from .fashiongen_layout import FASHIONGEN_ROOT, PHOTO_VIEWS
from .klip_layout import KLIP_ROOT
from .layouts import (
    CIRR_ROOT,
    FASHIONIQ_ROOT,
    OUTFIT_LAYOUTS,
    OWN_ROOT,
    Picture,
    WorldSettings,
    annotation_files,
    derived_files,
    picture_folders,
    pictures,
    rows,
    write_derived,
)
from .outfit_layouts import POLYVORE_OUTFITS_ROOT, POLYVORE_ROOT
from .outfits import END_INDEX, FIRST_INDEX, outfit_garment
from .pretraining_layouts import PRETRAINING_SETS
from .render import main_view, render

_FORMAT = 1  # raised when the same settings begin to give another world
_DESIGNS_PER_TASK = 8
_JPEG_QUALITY = 92
_counter = itertools.count()


def _partial(root: Path) -> Path:
    return root / OWN_ROOT / ".partial"


def _say_where(error: OSError, path: Path) -> OSError:
    """The same error with what it was about and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full; free some space and run the same command again, it continues where it stopped"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = "writing is not allowed there; choose another --output_dir or change the folder's rights"
    else:
        what = f"{error.strerror or error}; run the same command again, it continues where it stopped"
    return OSError(error.errno, f"cannot write {path}: {what}")


def _picture(settings: WorldSettings, picture: Picture) -> Image.Image:
    make = outfit_garment if FIRST_INDEX <= picture.index < END_INDEX else make_garment
    garment = make(settings.seed, picture.index)
    view = picture.view or main_view(garment, settings.seed, settings.figure_share, picture.take)
    return render(garment, settings.seed, view, settings.image_size, picture.take)


def _save_picture(image: Image.Image, path: Path) -> None:
    if path.suffix == ".png":
        image.save(path, compress_level=3)
    else:
        image.save(path, quality=_JPEG_QUALITY, subsampling=0)


def _draw(root: Path, settings: WorldSettings, numbers: range) -> tuple[int, int]:
    """Draw the missing pictures of some designs or capsules.

    Returns:
        How many pictures were drawn, and how many belong to them.
    """
    drawn = total = 0
    for number in numbers:
        same: dict[tuple, Path] = {}  # a garment that several outfits have is drawn once
        for picture in pictures(settings, number):
            total += 1
            path = root / picture.path
            equal = same.setdefault((picture.index, picture.view, picture.take, path.suffix), path)
            try:
                if path.stat().st_size > 0:
                    continue
            except FileNotFoundError:
                pass
            partial = _partial(root) / f"{os.getpid()}-{next(_counter)}{path.suffix}"
            try:
                if equal != path:
                    shutil.copyfile(equal, partial)
                else:
                    _save_picture(_picture(settings, picture), partial)
                os.replace(partial, path)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise _say_where(error, path) from error
            drawn += 1
    return drawn, total


def _task(root: Path, settings: WorldSettings, numbers: range, annotate: bool) -> tuple[int, int, dict[str, list[str]]]:
    """Pictures and annotation rows of some designs or capsules."""
    drawn, total = _draw(root, settings, numbers)
    added: dict[str, list[str]] = {}
    for number in numbers if annotate else ():
        for path, lines in rows(settings, number).items():
            added.setdefault(path, []).extend(lines)
    return drawn, total, added


def _leave_with_parent() -> None:
    """End a worker when the program that started it is gone; it would wait for work for ever otherwise."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _results(root: Path, settings: WorldSettings, tasks: list[range], annotate: bool, workers: int) -> Iterator:
    """Results of all tasks in their order, with a bounded number in flight."""
    if workers == 1:
        for numbers in tasks:
            yield _task(root, settings, numbers, annotate)
        return
    # "spawn": a forked child would inherit the threads and locks of whoever calls this.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_with_parent)
    waiting: deque = deque()
    try:
        for numbers in tasks:
            waiting.append(pool.submit(_task, root, settings, numbers, annotate))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a drawing process ended suddenly (killed, or out of memory); run the same command again with "
            "fewer --workers, it continues where it stopped"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _AnnotationFiles:
    """All annotation files, written row by row beside their places."""

    _ends = {"list": ("[\n", ",\n", "\n]\n"), "object": ("{\n", ",\n", "\n}\n"), "lines": ("", "\n", "\n")}

    def __init__(self, root: Path, settings: WorldSettings) -> None:
        self.root, self.kinds = root, annotation_files(settings)
        self.counts = dict.fromkeys(self.kinds, 0)
        self.partials = {path: _partial(root) / path.replace("/", "--") for path in self.kinds}
        self.handles = {path: open(p, "w", encoding="utf-8") for path, p in self.partials.items()}
        for path, kind in self.kinds.items():
            self.handles[path].write(self._ends[kind][0])

    def add(self, added: dict[str, list[str]]) -> None:
        for path, lines in added.items():
            between = self._ends[self.kinds[path]][1]
            handle = self.handles[path]
            if self.counts[path]:
                handle.write(between)
            try:
                handle.write(between.join(lines))
            except OSError as error:
                raise _say_where(error, self.root / path) from error
            self.counts[path] += len(lines)

    def finish(self) -> None:
        """Close all files and rename them to their places."""
        for path, kind in self.kinds.items():
            try:
                self.handles[path].write(self._ends[kind][2] if self.counts[path] or kind != "lines" else "")
                self.handles[path].close()
                os.replace(self.partials[path], self.root / path)
            except OSError as error:
                raise _say_where(error, self.root / path) from error

    def abandon(self) -> None:
        for handle in self.handles.values():
            try:
                handle.close()
            except OSError:
                pass  # a full disk is already being reported


def _hash(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write_world_file(root: Path, content: dict) -> None:
    path, partial = root / OWN_ROOT / "world.json", _partial(root) / "world.json"
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise _say_where(error, path) from error


def _read_world_file(root: Path, settings: WorldSettings) -> dict | None:
    """The record of an earlier run in the same folder, None for a new world.

    Raises:
        ValueError: the folder holds another world, or something that is no world.
    """
    path = root / OWN_ROOT / "world.json"
    if not path.is_file():
        official = (FASHIONIQ_ROOT, CIRR_ROOT, FASHIONGEN_ROOT, KLIP_ROOT, POLYVORE_ROOT, POLYVORE_OUTFITS_ROOT)
        for name in (*official, *(one.root for one in PRETRAINING_SETS.values())):
            if (root / name).is_dir() and any((root / name).iterdir()):
                raise ValueError(
                    f"{root / name} exists but {path} does not: this is not an Atelier world; "
                    "choose an empty --output_dir"
                )
        return None
    try:
        world = json.loads(path.read_text(encoding="utf-8"))
        stored = dict(world["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not readable as a world's record ({error}); choose another --output_dir"
        ) from error
    if world.get("format") != _FORMAT:
        raise ValueError(
            f"{path} was made by another version of Atelier (format {world.get('format')}, now {_FORMAT}); "
            "choose another --output_dir"
        )
    wanted = settings.as_dict()
    different = [
        f"{k}: {stored.get(k)!r} there, {wanted.get(k)!r} asked"
        for k in wanted | stored
        if stored.get(k) != wanted.get(k)
    ]
    if different:
        raise ValueError(
            f"{root} holds another world ({'; '.join(different)}); choose another --output_dir, "
            "or the same settings to continue"
        )
    if world.get("versions") != _versions():
        warnings.warn(
            f"{root} was begun with {world.get('versions')}, now {_versions()}: "
            "new pictures may differ by a grey level",
            stacklevel=3,
        )
    return world


def _versions() -> dict[str, str]:
    return {"pillow": PIL.__version__, "numpy": np.__version__}


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the folder for this process; a second one gets an error instead of a race."""
    try:
        import fcntl
    except ImportError:  # no such lock on this platform: two writers would still only rename equal files
        yield
        return
    path = root / OWN_ROOT / ".lock"
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{root} is being written by another process (lock {path}); wait for it or choose another --output_dir"
            ) from error
        yield


def estimated_bytes(settings: WorldSettings) -> int:
    """Disk the world will take, from measured bytes per pixel (JPEG 0.45, PNG 1.0) with room to spare."""
    pixels = settings.image_size**2
    per_garment = 4200 + len(settings.views) * 0.45 * pixels
    per_garment += (0.45 * pixels if "fashioniq" in settings.layouts else 0) + 2000
    if "cirr" in settings.layouts:
        per_garment += (1.2 if settings.picture_format == "png" else 0.45) * pixels
    if "fashiongen" in settings.layouts:
        per_garment += len(PHOTO_VIEWS) * 0.45 * pixels + 2000
    if "fashionklip" in settings.layouts:
        per_garment += (len(PHOTO_VIEWS) + 1) * 12 * pixels
    for name in settings.pretraining_sets:
        per_garment += len(PRETRAINING_SETS[name].views) * 0.45 * pixels + 4000
    of_outfits = sum(layout in settings.layouts for layout in OUTFIT_LAYOUTS) * (5 * 0.45 * pixels + 12_000)
    return int(settings.garments * per_garment + settings.outfits * of_outfits)


def build_world(
    output_dir: str | Path, settings: WorldSettings, workers: int | None = None, progress: bool = True
) -> dict:
    """Make a world, continue one that was interrupted, or check one that is finished.

    Args:
        output_dir: receives ``fashionIQ_dataset/``, ``cirr_dataset/``, ``FashionGen/``, ``fashionklip/``, ``polyvore/``,
            ``polyvore_outfits/``, ``BigFACAD/``, ``Fashion200k/`` (as asked) and ``atelier/``.
        settings: what the world contains. A folder that holds a world with other settings is refused.
        workers: drawing processes; None uses every core. The result does not depend on it.
        progress: whether to show a bar.
    Returns:
        The content of ``atelier/world.json`` with ``drawn`` (pictures drawn by this call) and ``pictures`` (all).
    Raises:
        ValueError: the folder holds something else, or is in use, or `workers` is out of range.
        OSError: a file cannot be written (full disk, rights); nothing that was made is lost.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if not 1 <= workers <= 256:
        raise ValueError(f"workers is {workers}; it must be between 1 and 256")
    root = Path(output_dir)
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; --output_dir must be a folder")
    world = _read_world_file(root, settings) if root.is_dir() else None
    if world is None:
        space_at = next(p for p in (root.absolute(), *root.absolute().parents) if p.is_dir())
        free, needed = shutil.disk_usage(space_at).free, estimated_bytes(settings)
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"a world of {settings.garments:,} garments needs about {needed / 1e9:.1f} GB, "
                f"{space_at} has {free / 1e9:.1f} GB; "
                "free some space, or lower --garments or --image_size",
            )
    files = annotation_files(settings)
    try:
        for folder in {str(Path(path).parent) for path in files} | set(picture_folders(settings)):
            (root / folder).mkdir(parents=True, exist_ok=True)
        _partial(root).mkdir(exist_ok=True)
    except OSError as error:
        raise _say_where(error, root) from error
    with _locked(root):
        for leftover in _partial(root).iterdir():  # of a run that was killed
            leftover.unlink(missing_ok=True)
        record = {"format": _FORMAT, "settings": settings.as_dict(), "versions": _versions()}
        done = world is not None and world.get("status") == "finished"
        # A world of an earlier version may lack files that its layouts have now.
        intact = done and world["annotations"].keys() == {*files, *derived_files(settings)}
        intact = intact and all(_hash(root / path) == digest for path, digest in world["annotations"].items())
        if not intact:
            _write_world_file(root, record | {"status": "unfinished"})
        drawn, total, counts = _make(root, settings, workers, progress, annotate=not intact)
        if intact:
            record = {key: value for key, value in world.items() if key != "status"}
        else:
            try:
                write_derived(root, settings)
            except OSError as error:
                raise _say_where(error, Path(error.filename or root)) from error
            record["annotations"] = {path: _hash(root / path) for path in (*files, *derived_files(settings))}
            record["counts"] = counts
        record["pictures"] = total
        _write_world_file(root, record | {"status": "finished"})
    return record | {"status": "finished", "drawn": drawn}


def _make(
    root: Path, settings: WorldSettings, workers: int, progress: bool, annotate: bool
) -> tuple[int, int, dict[str, int]]:
    """Run all tasks; annotations reach their places only after the last picture."""
    annotations = _AnnotationFiles(root, settings) if annotate else None
    drawn = total = 0
    tasks = settings.tasks(_DESIGNS_PER_TASK)
    bar = tqdm(total=settings.parts, unit="part", desc="Atelier", disable=not progress, mininterval=0.5)
    try:
        for numbers, (new, of_task, added) in zip(
            tasks, _results(root, settings, tasks, annotate, workers), strict=True
        ):
            drawn, total = drawn + new, total + of_task
            if annotations is not None:
                annotations.add(added)
            bar.update(len(numbers))
            bar.set_postfix(pictures=total, refresh=False)
        if annotations is not None:
            annotations.finish()
    finally:
        bar.close()
        if annotations is not None:
            annotations.abandon()
    return drawn, total, dict(annotations.counts) if annotations is not None else {}
