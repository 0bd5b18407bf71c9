"""Images decoded and fitted on all cores, in order, with memory for a few hundred of them at a time."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import chain, islice
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from fewshot.data.archive import archives_closed
from fewshot.data.image_files import fit, open_image
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item, Named, Original, spool_arrays
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.progress import report_progress

_AT_ONCE = 64
"""Images that one process gets at a time: 64 small photos take some 10 ms, far more than it costs to name them."""
_WAITING = 4
"""Parts for each process that may be on the way."""
_WORTH_A_POOL = 1000
"""Images from which on it is faster to start processes, which takes about half a second; where the source does not know
its number, those of the first part are enough."""


@dataclass
class Originals:
    """The images of a dataset as their files have them."""

    modes: Counter[str] = field(default_factory=Counter)
    """Pillow's name of the colour space -> images."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(width, height) in pixels -> images."""


class _Done(NamedTuple):
    """A part of the images that was decoded."""

    kinds: Counter[tuple[str, tuple[int, int]]]
    """(mode, size) -> images, of those that were files."""
    errors: list[str]


@runtime_checkable
class _Keep(Protocol):
    """Takes the pixels of a part of the images."""

    def __call__(self, first: int, pixels: list[np.ndarray]) -> None:
        """`first` is the place of the first image among all of them."""


def decode_into(
    items: Iterable[Item], file: Path, offset: int, *, total: int, options: ImageOptions | None, originals: Originals
) -> Iterator[Named]:
    """Write the pixels of all images to `file`, in the form that `options` say, and yield the names of each.

    Without options, images are arrays, and stay as they are. The processes write what they decode themselves.
    `originals` is told of each image that was a file; `total` is the number of images, 0 if it is not known. Raises
    DamagedFileError that names an image that can't be read.
    """
    with report_progress("packing", total) as reporter:
        if options is None:
            yield from _counted(spool_arrays(_called(items), file, offset), reporter)
            return
        keep = _Writer(file, offset, int(np.prod(options.image_shape)))
        done = 0
        for some, result in _in_parts(items, total, options, keep):
            if result.errors:
                raise DamagedFileError(result.errors[0])
            for (mode, size), number in result.kinds.items():
                originals.modes[mode] += number
                originals.sizes[size] += number
            for class_name, group, name, _ in some:
                yield class_name, group, name, options.image_shape
            done += len(some)
            reporter(done, "images")


def unreadable(files: Iterable[tuple[str, Original]], total: int, options: ImageOptions) -> list[str]:
    """An error for each of the files (name, original) that is not an image; `total` is their number."""
    wrong: list[str] = []
    with report_progress("reading", total) as reporter:
        items = (("", "", name, content) for name, content in files)
        done = 0
        for some, result in _in_parts(items, total, options, _keep_nothing):
            wrong += result.errors
            done += len(some)
            reporter(done, "images")
    return wrong


def as_image(original: Original, name: str = "") -> Image.Image:
    """An original of a source as Pillow's image: grey or RGB, upright. DataError that names a file that is none."""
    if callable(original):
        original = original()
    if isinstance(original, bytes):
        return open_image(BytesIO(original), name)
    if isinstance(original, Image.Image):
        return original.convert("L" if original.mode in ("1", "L") else "RGB")
    return Image.fromarray(original[0] if len(original) == 1 else np.ascontiguousarray(original.transpose(1, 2, 0)))


def _in_parts(
    items: Iterable[Item], total: int, options: ImageOptions, keep: _Keep
) -> Iterator[tuple[list[Item], _Done]]:
    """Parts of the items, in order, each with what became of its images."""
    source = iter(items)
    parts: Iterator[list[Item]] = iter(lambda: list(islice(source, _AT_ONCE)), [])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    first = next(parts, [])
    is_work = bool(first) and not _is_ready(first[0][3], options)
    is_worth_it = total >= _WORTH_A_POOL or (not total and len(first) == _AT_ONCE)
    work = partial(_decode, options=options, keep=keep)
    place = 0
    parts = chain([first] if first else [], parts)
    if cores == 1 or not (is_work and is_worth_it):
        with archives_closed():
            for some in parts:
                yield some, work(place, _images(some))
                place += len(some)
        return
    # A server that never had threads makes the processes: a plain fork of one that has them may hang.
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    with ProcessPoolExecutor(cores, context) as pool:
        waiting: deque[tuple[list[Item], Future[_Done]]] = deque()
        for some in parts:
            waiting.append((some, pool.submit(work, place, _images(some))))
            place += len(some)
            if len(waiting) > cores * _WAITING:
                sent, result = waiting.popleft()
                yield sent, result.result()
        while waiting:
            sent, result = waiting.popleft()
            yield sent, result.result()


def _images(items: list[Item]) -> list[tuple[str, Original]]:
    return [(name, original) for _, _, name, original in items]


def _decode(first: int, images: list[tuple[str, Original]], options: ImageOptions, keep: _Keep) -> _Done:
    """Decode a part of the images and keep their pixels; runs in any process."""
    done, pixels = _Done(Counter(), []), []
    for name, original in images:
        if _is_ready(original, options):
            pixels.append(original)
            continue
        try:
            image = as_image(original, name)
            pixels.append(fit(image, options.image_shape, options.ink))
        except DataError as error:
            done.errors.append(str(error))
            continue
        if not isinstance(original, np.ndarray):
            done.kinds[image.info.get("original", (image.mode, image.size))] += 1
    if not done.errors:
        keep(first, pixels)
    return done


class _Writer(NamedTuple):
    """Writes pixels to their place in a file."""

    file: Path
    offset: int
    size: int
    """Bytes of an image."""

    def __call__(self, first: int, pixels: list[np.ndarray]) -> None:
        with self.file.open("r+b", buffering=0) as opened:
            opened.seek(self.offset + first * self.size)
            opened.write(b"".join(image.tobytes() for image in pixels))


def _keep_nothing(first: int, pixels: list[np.ndarray]) -> None:
    """For images that are only looked at."""


def _is_ready(original: Original, options: ImageOptions) -> bool:
    """True for an array that has its form already."""
    return isinstance(original, np.ndarray) and original.shape == options.image_shape


def _called(items: Iterable[Item]) -> Iterator[Item]:
    """Items of a source without options, whose images have to be arrays."""
    for class_name, group, name, original in items:
        array = original() if callable(original) else original
        if not isinstance(array, np.ndarray):
            raise DataError(f"{name}: a source without options gives arrays, not files; declare a class Options in it")
        yield class_name, group, name, array


def _counted(names: Iterable[Named], reporter: Any) -> Iterator[Named]:
    for number, named in enumerate(names, start=1):
        yield named
        reporter(number, "images")
