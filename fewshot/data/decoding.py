"""Images decoded and fitted on all cores, in order, with memory for a few hundred of them at a time."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, islice
from multiprocessing import get_all_start_methods, get_context
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fewshot.data.image_files import fit, open_image
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item, Original
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.progress import report_progress

_AT_ONCE = 64
"""Images that one process gets at a time: 64 small photos take some 20 ms, far more than it costs to send them."""
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
    image: np.ndarray
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    error: str = ""


def decoded(items: Iterable[Item], total: int, options: ImageOptions | None, originals: Originals) -> Iterator[Item]:
    """The items with every image as an array of the form that `options` say; arrays that have it already stay.

    `originals` is told of each image that was a file. Raises DamagedFileError that names a file that can't be read.
    """
    with report_progress("packing", total) as reporter:
        done = 0
        for some, results in _in_parts(items, total, options):
            for (class_name, group, name, _), result in zip(some, results, strict=True):
                if result.error:
                    raise DamagedFileError(result.error)
                if result.mode:
                    originals.modes[result.mode] += 1
                    originals.sizes[result.size] += 1
                yield class_name, group, name, result.image
            done += len(some)
            reporter(done, "images")


def unreadable(files: Iterable[tuple[str, bytes]], total: int, options: ImageOptions) -> list[str]:
    """An error for each of the files (name, bytes) that is not an image; `total` is their number."""
    wrong: list[str] = []
    with report_progress("reading", total) as reporter:
        items = (("", "", name, content) for name, content in files)
        done = 0
        for some, results in _in_parts(items, total, options):
            wrong += [result.error for result in results if result.error]
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
    items: Iterable[Item], total: int, options: ImageOptions | None
) -> Iterator[tuple[list[Item], list[_Done]]]:
    """Parts of the items, in order, each with what became of its images."""
    source = iter(items)
    parts: Iterator[list[Item]] = iter(lambda: list(islice(source, _AT_ONCE)), [])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    first = next(parts, [])
    is_work = bool(first) and not _is_ready(first[0][3], options)
    is_worth_it = total >= _WORTH_A_POOL or (not total and len(first) == _AT_ONCE)
    parts = chain([first] if first else [], parts)
    if cores == 1 or not (is_work and is_worth_it):
        yield from ((some, _done_all(_work(some), options)) for some in parts)
        return
    # A server that never had threads makes the processes: a plain fork of one that has them may hang.
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    with ProcessPoolExecutor(cores, context) as pool:
        waiting: deque[tuple[list[Item], Future[list[_Done]]]] = deque()
        for some in parts:
            waiting.append((some, pool.submit(_done_all, _work(some), options)))
            if len(waiting) > cores * _WAITING:
                yield _received(waiting.popleft())
        while waiting:
            yield _received(waiting.popleft())


def _received(sent: tuple[list[Item], "Future[list[_Done]]"]) -> tuple[list[Item], list[_Done]]:
    return sent[0], sent[1].result()


def _work(items: list[Item]) -> list[tuple[str, Any]]:
    return [(name, original) for _, _, name, original in items]


def _done_all(work: list[tuple[str, Any]], options: ImageOptions | None) -> list[_Done]:
    return [_done(name, original, options) for name, original in work]


def _is_ready(original: Original, options: ImageOptions | None) -> bool:
    """True for an array that has its form already."""
    return isinstance(original, np.ndarray) and (options is None or original.shape == options.image_shape)


def _done(name: str, original: Any, options: ImageOptions | None) -> _Done:
    if _is_ready(original, options):
        return _Done(original)
    if options is None:
        raise DataError(f"{name}: a source without options gives arrays, not files; declare a class Options in it")
    try:
        image = as_image(original, name)
        pixels = fit(image, options.image_shape, options.ink)
    except DataError as error:
        return _Done(np.empty(0), error=str(error))
    is_drawn = isinstance(original, np.ndarray)
    return _Done(pixels, *(("", (0, 0)) if is_drawn else image.info.get("original", (image.mode, image.size))))
