"""Features: the embeddings of a dataset's images by a frozen encoder, computed once and kept.

They are read from the *original* images, at the encoder's own size, into one memory-mapped array in half precision. A
run that was cut goes on where it was. The key says what they were made from: images, classes, encoder, code.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float16, Int64, UInt8
from PIL import Image

from fewshot.data.archive import archives_closed
from fewshot.data.decoding import as_image
from fewshot.data.pack import Original, degrees, unrotated
from fewshot.errors import DamagedFileError, DataError
from fewshot.project.fingerprints import code_key
from fewshot.system.files import read_json, sha256_file, sha256_json, write_json
from fewshot.system.progress import report_progress

if TYPE_CHECKING:
    from fewshot.data.dataset import Dataset

VALUES, INDEX, PROGRESS = "features.npy", "index.json", "progress.json"
AT_ONCE = 128
"""Images that are read, and then embedded, at once. On a CPU the encoder takes them in smaller parts, whose activations
stay in the caches; torch's threads spin for some time after each, which would slow the reading down."""
_SAVED_EVERY = 4
"""Parts between two points from which a run that was cut goes on."""


@runtime_checkable
class Encoder(Protocol):
    """A frozen network that embeds images."""

    @property
    def out_features(self) -> int:
        """The length of an embedding."""

    @property
    def digest(self) -> str:
        """SHA-256 over its weights and its preprocessing."""

    @property
    def parts_ahead(self) -> int:
        """Parts of images to read while it computes: none on a CPU, whose cores it needs itself."""

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "channel side side"]:
        """An image, grey or RGB, as the network takes it."""

    def embed(self, images: UInt8[np.ndarray, "image channel side side"]) -> Float16[np.ndarray, "image feature"]:
        """Embeddings of images."""


@dataclass(frozen=True)
class Features:
    """The embeddings of the classes of one split."""

    values: Float16[np.ndarray, "place feature"] = field(repr=False)
    """Memory-mapped; one for each image of each class, a class that is a rotation being one of its own."""
    places: Int64[np.ndarray, "key"] = field(repr=False)
    """4 x row of the pack + quarter turns -> place in `values`; -1 for images of other splits."""
    digest: str
    """SHA-256 of the file of the values."""
    file: Path


def features_key(dataset: "Dataset", split: str, encoder_digest: str) -> str:
    """The name of a folder of features: it changes with all that they depend on."""
    made_of = [dataset.pack.digest, list(dataset.class_names(split)), dataset.is_original, encoder_digest]
    return f"features-{sha256_json([*made_of, code_key('fewshot.data.features')])[:32]}"


def compute_features(dataset: "Dataset", split: str, encoder: Encoder, folder: Path) -> Features:
    """The features of a split's classes, from `folder` where they are there and whole; else they are computed.

    Raises DataError that names an image that can't be read, and for raw files that are not there.
    """
    key = features_key(dataset, split, encoder.digest)
    place = folder / key
    places = _places(dataset, split)
    try:
        return open_features(place, places)
    except DamagedFileError:
        _compute(dataset, split, encoder, place, places)
    return open_features(place, places)


def open_features(folder: Path, places: Int64[np.ndarray, "key"]) -> Features:
    """Features that were computed before. DamagedFileError for what is missing, changed, or of other images."""
    remedy = f"delete {folder}, and they are computed again"
    index = read_json(folder / INDEX, remedy)
    values = folder / VALUES
    if not values.is_file() or sha256_file(values) != index["digest"]:
        raise DamagedFileError(f"{values} is missing or was changed after it was written; {remedy}")
    os.utime(folder)  # `fewshot clean` goes by when they were last used
    array = np.load(values, mmap_mode="r", allow_pickle=False)
    if len(array) != places.max(initial=-1) + 1:
        raise DamagedFileError(f"{values} holds {len(array)} features, of other images; {remedy}")
    return Features(array, places, index["digest"], values)


def _places(dataset: "Dataset", split: str) -> Int64[np.ndarray, "key"]:
    """The place of each image of the split's classes, in the order of the classes' names."""
    packed = {one.name: one for one in dataset.pack.classes}
    places = np.full(4 * len(dataset.pack.images), -1, dtype=np.int64)
    number = 0
    for name in dataset.class_names(split):
        of_class = packed[unrotated(name)]
        rows = np.arange(of_class.start, of_class.start + of_class.count)
        places[4 * rows + degrees(name) // 90] = np.arange(number, number + of_class.count)
        number += of_class.count
    return places


def _compute(dataset: "Dataset", split: str, encoder: Encoder, folder: Path, places: Int64[np.ndarray, "key"]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    total, file = int(places.max()) + 1, folder / f".{VALUES}.part"
    shape = (total, encoder.out_features)
    done = _done_before(folder, file, shape)
    try:
        values = np.lib.format.open_memmap(
            file, mode="r+" if done else "w+", dtype=np.float16, shape=None if done else shape
        )
    except OSError as error:
        raise DataError(f"{file} can't be written ({error.strerror}); free some space and run it again") from None
    with (
        report_progress(f"features of {dataset.name}, {split}", total) as reporter,
        archives_closed(),
        ThreadPoolExecutor(_cores()) as readers,
    ):
        parts = _parts(_wanted(dataset, places), done, encoder, readers)
        for number, (at, images) in enumerate(parts, start=1):
            values[at] = encoder.embed(images)
            done += len(at)
            reporter(done, "images")
            if number % _SAVED_EVERY == 0:
                values.flush()
                write_json(folder / PROGRESS, {"done": done, "shape": list(shape)})
    values.flush()
    del values
    file.replace(folder / VALUES)
    write_json(folder / INDEX, {"digest": sha256_file(folder / VALUES), "encoder": encoder.digest, "split": split})
    (folder / PROGRESS).unlink(missing_ok=True)


def _done_before(folder: Path, file: Path, shape: tuple[int, int]) -> int:
    """The number of images whose features a run that was cut left behind."""
    try:
        progress = read_json(folder / PROGRESS, "it is made again")
    except DamagedFileError:
        return 0
    return int(progress["done"]) if file.is_file() and tuple(progress["shape"]) == shape else 0


def _wanted(dataset: "Dataset", places: Int64[np.ndarray, "key"]) -> Iterator[tuple[int, int, Original, str]]:
    """(place, quarter turns, image, name) of everything to embed, in the order in which the source has it."""
    for row, original, name in dataset.originals():
        for turns in np.flatnonzero(places[4 * row : 4 * row + 4] >= 0):
            yield int(places[4 * row + turns]), int(turns), original, name


def _parts(
    wanted: Iterator[tuple[int, int, Original, str]], done: int, encoder: Encoder, readers: ThreadPoolExecutor
) -> Iterator[tuple[Int64[np.ndarray, "image"], UInt8[np.ndarray, "image channel side side"]]]:
    """Places and pixels, a part at a time; the next one is read meanwhile if the network leaves the cores free."""
    rest = islice(wanted, done, None)
    read = partial(_pixels, encoder)
    waiting: deque[tuple[list[int], list[Future[np.ndarray]]]] = deque()
    while some := list(islice(rest, AT_ONCE)):
        waiting.append(([place for place, *_ in some], [readers.submit(read, one) for one in some]))
        if len(waiting) > encoder.parts_ahead:
            yield _read(*waiting.popleft())
    while waiting:
        yield _read(*waiting.popleft())


def _read(
    places: list[int], pixels: list["Future[np.ndarray]"]
) -> tuple[Int64[np.ndarray, "image"], UInt8[np.ndarray, "image channel side side"]]:
    return np.array(places, dtype=np.int64), np.stack([one.result() for one in pixels])


def _pixels(encoder: Encoder, one: tuple[int, int, Original, str]) -> UInt8[np.ndarray, "channel side side"]:
    _, turns, original, name = one
    return np.rot90(encoder.pixels(as_image(original, name)), turns, axes=(-2, -1))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
