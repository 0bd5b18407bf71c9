"""Hand-like drawings of the letters of many writing systems (in preparation)."""

from collections.abc import Iterator
from pathlib import Path

from fewshot.data.pack import Item
from fewshot.errors import DataError

FILES: tuple[str, ...] = ()


def fetch(raw: Path) -> None:
    """Not there yet."""
    raise DataError("glyphs are not there yet")


def read(raw: Path) -> Iterator[Item]:
    """Not there yet."""
    raise DataError("glyphs are not there yet")
