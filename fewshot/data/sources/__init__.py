"""Sources of images: one module for each dataset. A dataset of yours is a file like these; see docs/extend.md."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from fewshot.data.pack import Item
from fewshot.errors import UsageError, unknown
from fewshot.system.modules import load_file

SOURCES = {name: f"fewshot.data.sources.{name}" for name in ("glyphs", "digits", "omniglot", "folder")}
"""Dataset -> module. A module is imported when its dataset is asked for."""


@runtime_checkable
class Source(Protocol):
    """The interface that every source module implements."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """The names of all files that `fetch` leaves in the raw folder."""

    def fetch(self, raw: Path) -> None:
        """Get the raw files, whole and checked. Raises DataError."""

    def read(self, raw: Path) -> Iterator[Item]:
        """(class, group, source name, image) of every image in the raw folder. Raises DamagedFileError."""


def find_source(dataset: str, declared: Mapping[str, str] | None = None) -> Source:
    """The source of a dataset: the package's own, or that in the file that `declared` names (dataset -> path).

    Raises UsageError for an unknown dataset, and for a file that is no source.
    """
    if dataset in SOURCES:
        return cast(Source, import_module(SOURCES[dataset]))
    if dataset not in (declared or {}):
        raise unknown("dataset", dataset, {*SOURCES, *(declared or {})})
    module = load_file((declared or {})[dataset])
    if not isinstance(module, Source):
        missing = [name for name in ("FILES", "fetch", "read") if not hasattr(module, name)]
        raise UsageError(f"{(declared or {})[dataset]} is no source of images: it has no {' and no '.join(missing)}")
    return module
