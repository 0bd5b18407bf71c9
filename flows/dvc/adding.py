"""Adding a dataset: from the catalogue, from images of the user's own, or from a source of the user's own."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.data.local_images import Collection
from fewshot.data.sources import open_source
from fewshot.errors import DataError, UsageError
from fewshot.project.paths import Home
from fewshot.settings.datasets import definitions_of
from fewshot.settings.declarations import (
    FILE,
    NAME,
    CatalogueEntry,
    Declaration,
    catalogue,
    parse_declaration,
    read_declarations,
)
from flows.dvc import datasets

LOCAL = "fewshot/data/sources/local.py"
"""The source of the user's own images."""
ENOUGH_CLASSES = 50
"""Classes from which on a share of them, by a hash of their names, is enough for training and for each other split."""


@dataclass(frozen=True)
class Added:
    """A dataset that was declared."""

    name: str
    declaration: Declaration
    found: Collection | None
    """The user's own images, if it is made of them."""

    @property
    def is_trainable(self) -> bool:
        """True if some of its classes are for training."""
        return "test-only" not in self.declaration.splits


def add(
    home: Home,
    name: str,
    path: Path | None,
    options: Mapping[str, Any],
    splits: tuple[str, ...] = (),
    replace: bool = False,
) -> Added:
    """Declare a dataset; `options` are those of its source, `splits` its schemes, both instead of the default ones.

    Raises UsageError for a name that is taken or is no name, for wrong options or schemes, and for a place that can't
    be watched; DataError for one that holds no images. Nothing is written then.
    """
    _check_name(home, name, replace)
    if path is not None and path.suffix == ".py":
        declaration = Declaration(source=datasets.relative(home, checked_place(home, path)), options=dict(options))
    elif name in catalogue():
        declaration = _of_catalogue(home, name, catalogue()[name], path, options)
    elif path is not None:
        declaration = Declaration(
            source=LOCAL, path=datasets.relative(home, checked_place(home, path)), options=dict(options)
        )
    else:
        raise UsageError(
            f"the catalogue has no dataset {name}; give the place of your images (fewshot data add {name} FOLDER), or "
            f"choose one: {', '.join(catalogue())}"
        )
    source = open_source(name, declaration, home.project)
    found = source.find()
    if found is not None and not found.images:
        raise DataError(f"{path} holds no image; put a folder of images into it for each class")
    if not splits and found is not None and not declaration.splits:
        splits = (_scheme_for(found),)
    changed: dict[str, Any] = {"splits": splits or declaration.splits}
    if found is not None and source.given:
        # As the source has completed them, so that the file says what counts.
        changed["options"] = source.given.options.model_dump(mode="json")
    declaration = parse_declaration(name, declaration.model_dump(mode="json") | changed)
    definitions_of(name, declaration, home.project)
    datasets.write(home, name, declaration)
    return Added(name, declaration, found)


def checked_place(home: Home, path: Path) -> Path:
    """The place as an absolute path. UsageError for one that does not exist, holds the project or is fewshot's own."""
    place = path.expanduser().resolve()
    if not place.exists():
        raise UsageError(
            f"{place} does not exist; give a folder with a folder of images for each class, a table or a zip"
        )
    if Path(os.path.expanduser("~")).is_relative_to(place):
        raise UsageError(f"{place} holds your home folder; give a folder of images alone")
    if home.project.is_relative_to(place):
        raise UsageError(f"{place} holds this project itself; give a folder of images alone")
    for own in (home.data, home.state, home.project / ".dvc", home.project / ".git"):
        if place.is_relative_to(own.resolve()) or own.resolve().is_relative_to(place):
            raise UsageError(f"{place} is where fewshot, DVC or git keep files; give a folder of images alone")
    if any("\ud800" <= letter <= "\udfff" for letter in str(place)):
        raise UsageError(f"{place} has a name that is no text; rename it, or give a link to it")
    return place


def _check_name(home: Home, name: str, replace: bool) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} can't name a dataset, which is a folder too; write 1 to 50 letters, digits, - and _, beginning "
            "with a letter or digit"
        )
    if not replace and name in read_declarations(home.project):
        raise UsageError(f"{FILE} declares {name} already; choose another name, or change the entry with --replace")


def _of_catalogue(
    home: Home, name: str, entry: CatalogueEntry, path: Path | None, options: Mapping[str, Any]
) -> Declaration:
    declaration = entry.declaration
    if entry.needs_path and path is None:
        raise UsageError(f"{name} can't be downloaded: {entry.where}; then: fewshot data add {name} PATH")
    if path is not None and not entry.needs_path:
        raise UsageError(
            f"{name} is fetched from {entry.home}, not from {path}; choose another name for your own images"
        )
    place = datasets.relative(home, checked_place(home, path)) if path is not None else ""
    return declaration.model_copy(update={"path": place, "options": {**declaration.options, **options}})


def _scheme_for(found: Collection) -> str:
    """The split scheme of images that came without one."""
    if found.splits:
        return "column"
    return "hash" if len({one.class_name for one in found.images}) >= ENOUGH_CLASSES else "test-only"
