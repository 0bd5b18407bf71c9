"""Where images come from: one module for each dataset, in a dict from name to module."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from fewshot.data.pack import Item
from fewshot.data.sources import digits, folder, glyphs, omniglot


@runtime_checkable
class Source(Protocol):
    """What a source module offers."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """The names of all files that `fetch` leaves in the raw folder."""

    def fetch(self, raw: Path) -> None:
        """Get the raw files, whole and checked. Raises DataError."""

    def read(self, raw: Path) -> Iterator[Item]:
        """(class, group, source name, image) of every image in the raw folder. Raises DamagedFileError."""


SOURCES: dict[str, Source] = {"glyphs": glyphs, "digits": digits, "omniglot": omniglot, "folder": folder}
