"""The stages of the package's own datasets, by name, as `python -m fewshot.data` calls them."""

from collections.abc import Sequence
from pathlib import Path

from fewshot.data.pack import PackedClass
from fewshot.data.sources import find_source
from fewshot.data.sources.folder import FolderOptions
from fewshot.data.splits import assign_classes
from fewshot.data.stages.collect import collect as collect_images
from fewshot.data.stages.download import download as download_files
from fewshot.data.stages.pack import pack as pack_images
from fewshot.data.stages.split import Shapes
from fewshot.data.stages.split import split as split_classes
from fewshot.settings.datasets import definitions


def download(dataset: str, data: Path) -> None:
    download_files(dataset, find_source(dataset), data)


def collect(options: FolderOptions, data: Path) -> None:
    collect_images(options, data)


def pack(dataset: str, data: Path) -> None:
    pack_images(dataset, find_source(dataset), data)


def split(dataset: str, data: Path, shapes: Shapes, number: int, seed: int) -> None:
    split_classes(dataset, definitions(dataset), data, shapes, number, seed)


def assigned(dataset: str, scheme: str, classes: Sequence[PackedClass]) -> dict[str, tuple[str, ...]]:
    return assign_classes(definitions(dataset)[scheme], classes)
