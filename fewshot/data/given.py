"""Everything that a source is told of its dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Given:
    """The declaration of a dataset, as its source needs it."""

    name: str
    """The dataset's."""
    path: Path | None
    """The place of the user's own files, if the declaration names one."""
    options: Any
    """An object of the source's class `Options`."""
