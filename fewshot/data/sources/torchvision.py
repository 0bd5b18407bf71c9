"""Any dataset of torchvision.datasets: its class there knows the addresses, digests, layout and labels.

A dataset more is a declaration more: the name of its class, and the arguments that give each of its parts. Only the
downloads are ours: what torchvision asks for is fetched with resumption, a mirror and a check of the digest. The
archives stay in the raw folder; they are unpacked beside it while they are read.
"""

import inspect
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.data.torchvision_downloads import downloading, unpack
from fewshot.errors import UsageError, unknown
from fewshot.settings.published import published_classes
from fewshot.system.download import check_md5, fetch_file

PICKLED = ("CIFAR10", "CIFAR100", "ImageNet", "LSUN", "LSUNClass", "PhotoTour")
"""Classes that unpickle what they downloaded, which can run any code."""
UNPACKED = ".unpacked"
"""The folder, beside the raw one, that holds the unpacked archives while they are read."""


class Options(ImageOptions):
    """A class of torchvision.datasets with its arguments, and the form of the images."""

    dataset: str = Field(pattern=r"[A-Z][A-Za-z0-9]*", description="the class of torchvision.datasets: FGVCAircraft")
    parts: tuple[dict[str, bool | int | str], ...] = Field(
        ({},), min_length=1, description="for each part the arguments of the class: [{split: train}, {split: test}]"
    )
    names: str = Field(
        "", description="published split scheme whose class names, in order, name the labels; none: torchvision's names"
    )
    md5: dict[str, str] = Field({}, description="file -> MD5, in hexadecimal, where torchvision knows none")
    transposed: bool = Field(False, description="whether torchvision has rows and columns of the images swapped")


class Download(NamedTuple):
    """A file that a dataset asks for."""

    address: str
    name: str
    md5: str


def FILES(given: Given) -> tuple[str, ...]:
    """The archives, and whatever else the dataset consists of."""
    return tuple(one.name for one in downloads(given))


def fetch(raw: Path, given: Given) -> None:
    """Fetch the files that are not there yet; only a whole one gets its name."""
    for one in downloads(given):
        fetch_file(one.address, raw / one.name, partial(check_md5, md5=one.md5))


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each image of all parts, as the bytes of its file where torchvision tells it. Raises DamagedFileError."""
    for one in downloads(given):
        check_md5(raw / one.name, one.md5)
    options: Options = given.options
    names = published_classes(options.names) if options.names else ()
    folder = raw.parent / UNPACKED
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        for number, part in enumerate(options.parts):
            dataset = _opened(options.dataset, part, raw, folder)
            known = names or getattr(dataset, "classes", ()) or getattr(dataset, "categories", ())
            for index in range(len(dataset)):
                image, label = dataset[index]
                name, original = f"{number}/{index:06}", image
                if isinstance(image, Path):
                    name, original = image.relative_to(folder).as_posix(), image.read_bytes()
                yield _class_name(known, label), ".", name, _upright(original, options.transposed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def downloads(given: Given) -> list[Download]:
    """The files that the dataset asks for, from its own code: it is opened in an empty folder that stays empty.

    Raises UsageError for a class that is not there, unpickles, takes no such arguments, or has no digest for a file.
    """
    options: Options = given.options
    kind = _kind(options.dataset)
    found: dict[str, Download] = {}

    def note(address: str, place: Path, md5: str) -> None:
        found[place.name] = Download(address, place.name, options.md5.get(place.name, md5))

    for part in options.parts:
        with TemporaryDirectory() as empty, downloading(kind, note, lambda archive, folder: None):
            try:
                kind(empty, download=True, **part)
            except (RuntimeError, OSError):  # that the files are not there
                pass
            except (TypeError, ValueError) as error:
                raise UsageError(f"{given.name}.options.parts: {options.dataset}, {part}: {error}") from None
    if not found:
        raise UsageError(
            f"{given.name}.options.dataset: {options.dataset} has no file at an open address; choose another"
        )
    for one in found.values():
        if not one.md5:
            raise UsageError(f"torchvision has no digest of {one.name}; give it: {given.name}.options.md5.{one.name}")
    return list(found.values())


def _kind(name: str) -> Any:
    """The class of torchvision.datasets. UsageError for one that is not there, or unpickles."""
    from torchvision import datasets  # here, because it takes seconds

    if name in PICKLED:
        raise UsageError(f"torchvision's {name} reads a pickle, which can run any code; take another source of it")
    if name not in datasets.__all__:
        raise unknown("dataset of torchvision.datasets", name, set(datasets.__all__) - set(PICKLED))
    return getattr(datasets, name)


def _opened(name: str, part: dict[str, Any], raw: Path, folder: Path) -> Any:
    """A part of the dataset, unpacked into `folder`, whose files come from `raw`."""
    kind = _kind(name)

    def link(address: str, place: Path, md5: str) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to((raw / place.name).resolve())

    # Where the class lets others open the files, the path is all that we want: many processes decode.
    loader = {"loader": Path} if "loader" in inspect.signature(kind).parameters else {}
    folder.mkdir(exist_ok=True)
    with downloading(kind, link, unpack):
        return kind(str(folder), download=True, **part, **loader)


def _class_name(names: Sequence[str], label: int) -> str:
    return names[label] if names else str(label)


def _upright(image: bytes | Image.Image, transposed: bool) -> bytes | np.ndarray:
    """A file as it is; an image that torchvision decoded as [channel, height, width]."""
    if isinstance(image, bytes):
        return image
    pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(channels.transpose(0, 2, 1) if transposed else channels)
