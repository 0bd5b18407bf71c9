"""The parts of a dataset that is made of arrays, any torch dataset or a folder of images. Nothing is written to disk.

`fewshot.data.dataset.Dataset` puts them together.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from fewshot.data.pack import Pack, PackedClass, is_rotation
from fewshot.data.splits import SplitScheme, hashed_share
from fewshot.errors import DataError, UsageError, unknown
from fewshot.settings.declarations import SPLITS
from fewshot.system.files import sha256_json

Splits = Mapping[str, Iterable[Any]] | Literal["hash", "test-only"]
"""Split -> labels of its classes; "hash": by a hash of the names, see SHARES; "test-only": every class is held out."""

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Share of the classes that each split gets, where nothing else is said."""


_NAME = re.compile(r"(?!\.{1,2}$)[^/\\:\x00-\x1f\x7f]{1,100}")
"""A dataset's name: files of results are called by it."""
_SIDES = range(1, 4097)
"""Pixels that a side of an image may have."""


class Parts(NamedTuple):
    """A dataset without a file of fixed episodes."""

    name: str
    pack: Pack
    scheme: SplitScheme


def from_arrays(images: Any, labels: Any, name: str = "arrays", splits: Splits = "hash") -> Parts:
    """Images and a label for each.

    `images` is an array or tensor [image, channel, height, width], [image, height, width] or [image, height, width,
    channel], uint8 or float in [0, 1]. Labels may be of any kind; a class is called by its label's text. Raises
    UsageError for other images, for labels that name no class or two at once, for splits that name no or unknown
    classes, and for a name that can't be a file's.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise UsageError(f"name={name!r}: give a dataset a name of up to 100 characters, without / \\ and :")
    pixels = _as_uint8(images)
    names = np.array(class_names(labels))
    if len(names) != len(pixels):
        raise UsageError(f"{len(pixels)} images but {len(names)} labels; give one label for each image")
    order = np.argsort(names, kind="stable")
    distinct, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
    classes = tuple(PackedClass(*of) for of in zip(distinct.tolist(), [name] * len(distinct), starts.tolist(),
                                                   counts.tolist(), strict=True))  # fmt: skip
    ordered = np.ascontiguousarray(pixels[order])
    table = [[packed.name, packed.start, packed.count] for packed in classes]
    digest = sha256_json([hashlib.sha256(ordered.data).hexdigest(), list(ordered.shape), table])
    scheme = splits if isinstance(splits, str) else "given"
    return Parts(
        name,
        Pack(ordered, classes, digest),
        SplitScheme(name, scheme, digest, _assigned(splits, distinct.tolist()), ""),
    )


def from_torch(dataset: Any, name: str = "torch", splits: Splits = "hash") -> Parts:
    """All items of a torch dataset that gives (image, label): tensors, arrays or PIL images of one size.

    PIL images become grey or RGB as they look: the colours of a palette, what is transparent on white. What comes after
    the label in an item is left out. Raises UsageError that names the first item of another form or size, and for a
    dataset without a length.
    """
    images: list[np.ndarray] = []
    labels: list[Any] = []
    for place, item in enumerate(_items(dataset)):
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise UsageError(f"item {place} of the dataset is a {type(item).__name__}; it has to be (image, label)")
        image, label = item[:2]
        array = _array(image)
        if images and array.shape != images[0].shape:
            raise UsageError(
                f"item {place} of the dataset is an image of {array.shape}, the first is of {images[0].shape}; "
                "resize them, for example with torchvision.transforms.v2.Resize"
            )
        images.append(array)
        labels.append(label)
    if not images:
        raise UsageError("the dataset is empty")
    return from_arrays(np.stack(images), labels, name, splits)


def from_folder(folder: str | Path, side: int = 84, channels: Literal[1, 3] = 3, splits: Splits = "hash") -> Parts:
    """The images below a folder, each folder that holds some being a class, fitted into a square.

    Raises DataError for a folder that is not there or holds no image, and for a file that can't be read as one;
    UsageError for a side that is not from 1 to 4096 pixels, and for other channels.
    """
    if side not in _SIDES or channels not in (1, 3):
        raise UsageError(f"side={side!r}, channels={channels!r}: give a side of 1 to 4096 pixels, and 1 or 3 channels")
    from fewshot.data.class_folders import find_images
    from fewshot.data.image_files import fit, read_images

    if not Path(folder).is_dir():
        raise DataError(f"{folder} is no folder; give one with a folder of images for each class")
    found = find_images(Path(folder))
    if not found:
        raise DataError(f"{folder} holds no image; put a folder of images into it for each class")
    prepare = partial(fit, image_shape=(channels, side, side), ink="bright")
    images = read_images([one.file for one in found], prepare)
    name = re.sub(r"[:\\\x00-\x1f\x7f]", "_", Path(folder).resolve().name)[:100] or "folder"
    return from_arrays(images, [one.class_name for one in found], name, splits)


def _assigned(splits: Splits, classes: list[str]) -> dict[str, tuple[str, ...]]:
    """The classes of each split."""
    if splits == "test-only":
        return {"test": tuple(classes)}
    if splits == "hash":
        # By rank and not by value, so that few classes, too, are shared out as SHARES says.
        ranked = sorted(classes, key=lambda name: hashed_share(name, "part"))
        ends = [round(share * len(ranked)) for share in accumulate(SHARES.values(), initial=0.0)]
        return {
            split: tuple(sorted(ranked[first:end])) for split, (first, end) in zip(SHARES, pairwise(ends), strict=True)
        }
    if isinstance(splits, str):
        raise unknown("kind of splits", splits, ("hash", "test-only"))
    if not isinstance(splits, Mapping) or any(isinstance(labels, str) for labels in splits.values()):
        raise UsageError(f'splits={splits!r}: give "hash", "test-only" or the labels of each split, {{"train": [...]}}')
    try:
        found = {str(split): tuple(sorted({str(label) for label in labels})) for split, labels in splits.items()}
    except TypeError:
        raise UsageError(f"splits={splits!r}: give a list of labels for each split") from None
    of_split: dict[str, str] = {}
    for split, names in found.items():
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        for name in names:
            if name not in classes:
                raise unknown(f"class in splits[{split!r}]", name, classes)
            if name in of_split:
                raise UsageError(f"class {name!r} is in two splits, {of_split[name]} and {split}; a class has one")
            of_split[name] = split
    return {split: found[split] for split in SPLITS if found.get(split)}


def class_names(labels: Any) -> list[str]:
    """The class of each label: its text. UsageError for a label without one, and for two labels that read alike."""
    if getattr(labels, "ndim", 1) != 1:
        raise UsageError(f"labels of shape {tuple(labels.shape)}; give a sequence with one label for each image")
    try:
        given = [label.item() if hasattr(label, "item") else label for label in labels]
    except (TypeError, ValueError, RuntimeError):  # the latter two: an array for a label
        raise UsageError(f"labels are {type(labels).__name__}; give one label for each image") from None
    meant: dict[str, Any] = {}
    for place, label in enumerate(given):
        name = str(label)
        if label is None or label != label or not name or is_rotation(name):
            raise UsageError(
                f"label {place} is {label!r}, which can't name a class: it is missing or empty, or ends in @90, "
                "@180 or @270, which marks a rotation"
            )
        if meant.setdefault(name, label) != label:
            raise UsageError(f"the labels {meant[name]!r} and {label!r} read alike; call two classes by two names")
    return [str(label) for label in given]


def _items(dataset: Any) -> Iterator[Any]:
    """The items of a dataset, one after the other."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise UsageError(
            f"a {type(dataset).__name__} has no length or no items by number; give a torch dataset with both"
        )
    return (dataset[place] for place in range(len(dataset)))


def _array(image: Any) -> np.ndarray:
    if hasattr(image, "getbands"):  # one of Pillow's
        from fewshot.data.image_files import as_shown

        return as_shown(image)
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        return np.asarray(image.float() if image.dtype == torch.bfloat16 else image)
    return np.asarray(image)


def _as_uint8(images: Any) -> UInt8[np.ndarray, "image channel height width"]:
    try:
        array = _array(images)
    except ValueError:
        raise UsageError(
            "the images differ in size; resize them to one and give [image, channel, height, width]"
        ) from None
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not array.size:
        raise UsageError(f"images of shape {array.shape}; give [image, channel, height, width]")
    if array.shape[1] not in (1, 2, 3, 4) and array.shape[3] in (1, 3, 4):
        array = array.transpose(0, 3, 1, 2)
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool or (np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1):
        return np.asarray((array * np.float64(255)).round().astype(np.uint8))
    raise UsageError(
        f"images are {array.dtype} from {array.min()} to {array.max()}; give uint8 in [0, 255] or float in [0, 1], not "
        "yet normalised by mean and deviation"
    )
