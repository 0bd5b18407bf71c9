"""The stages of datasets by name, as `python -m fewshot.data` calls them, and of a folder of the user's own."""

from collections.abc import Sequence
from pathlib import Path

from fewshot.data.pack import PackedClass
from fewshot.data.sources import Source, open_source
from fewshot.data.splits import assign_classes
from fewshot.data.stages.fetch import fetch as fetch_files
from fewshot.data.stages.pack import pack as pack_images
from fewshot.data.stages.split import Shapes
from fewshot.data.stages.split import split as split_classes
from fewshot.project.fingerprints import SOURCES
from fewshot.settings.datasets import HASH, declaration_of, definitions
from fewshot.settings.declarations import Declaration, EpisodeOptions

LOCAL = "fewshot/data/sources/local.py"


def own_images(path: Path, side: int = 8, **options: object) -> Source:
    """The source of a dataset called "folder" that is made of a place of the user's own."""
    declaration = Declaration(source=LOCAL, path=str(path), options={"side": side, **options}, splits=("hash",))
    return open_source("folder", declaration, SOURCES)


def place_of(source: Source) -> Path:
    """The place of a source of the user's own images."""
    assert source.given is not None
    assert source.given.path is not None
    return source.given.path


def fetch(dataset: str, data: Path) -> None:
    fetch_files(dataset, _source(dataset), data)


def collect(source: Source, data: Path) -> None:
    fetch_files("folder", source, data)


def pack(dataset: str, data: Path, source: Source | None = None) -> None:
    pack_images(dataset, source or _source(dataset), data)


def split(dataset: str, data: Path, shapes: Shapes, number: int, seed: int) -> None:
    options = EpisodeOptions(seed=seed, number=number, shapes={split: tuple(some) for split, some in shapes.items()})
    split_classes(dataset, _definitions(dataset), data, options)


def assigned(dataset: str, scheme: str, classes: Sequence[PackedClass]) -> dict[str, tuple[str, ...]]:
    return assign_classes(_definitions(dataset)[scheme], classes)


def _source(dataset: str) -> Source:
    return open_source(dataset, declaration_of(dataset), SOURCES)


def _definitions(dataset: str) -> dict[str, dict[str, object]]:
    return {"hash": HASH} if dataset == "folder" else definitions(dataset)
