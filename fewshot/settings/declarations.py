"""Declarations of datasets: source, options, split schemes and fixed episodes of each, in a file that DVC reads too.

data/datasets.yaml holds those of a project. The catalogue of the package holds ready-made ones, which a project adds.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from fewshot.errors import UsageError
from fewshot.migrations import migrate_params
from fewshot.project.paths import find_project
from fewshot.settings.base import Immutable
from fewshot.settings.episode_shape import Shape
from fewshot.system.yaml_files import read_yaml

FILE = "data/datasets.yaml"
"""The declarations of a project, below its folder."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}"
"""A dataset's name: it names a folder, a stage of DVC's and a registered model."""

SPLITS = ("train", "val", "gate", "test")
"""The splits that classes are divided into; `fewshot.data.splits` says for what."""


class EpisodeOptions(Immutable):
    """The fixed episodes of a dataset."""

    seed: int = Field(0, ge=0)
    number: int = Field(600, ge=2, description="episodes of each shape")
    shapes: dict[str, tuple[Shape, ...]] | None = Field(
        None, description="split -> shapes; none: 1-shot and 5-shot of as many classes and queries as there are"
    )


class Declaration(Immutable):
    """One dataset of a project."""

    source: str = Field(min_length=1, description="the Python file that fetches and reads it, below the project")
    path: str = Field("", description="the place of its files, where they are the user's; relative to the project")
    options: dict[str, Any] = Field({}, description="options of the source")
    splits: tuple[str | dict[str, Any], ...] = Field(
        (), description='split schemes, the first is the default: "hash", "test-only", "column", a published list '
        '("omniglot/vinyals") or {name: definition}; none: those that the source declares'
    )  # fmt: skip
    episodes: EpisodeOptions = EpisodeOptions()

    def plain(self) -> dict[str, Any]:
        """As plain values for the file. DVC needs each key but `path`."""
        values = self.model_dump(mode="json")
        episodes = {name: value for name, value in values["episodes"].items() if value is not None}
        return {name: value for name, value in (values | {"episodes": episodes}).items() if name != "path" or value}


class CatalogueEntry(Immutable):
    """A ready-made dataset of the package."""

    about: str
    home: str = Field(description="address of its page")
    licence: str
    classes: int = Field(ge=1)
    images: int = Field(ge=1)
    needs_path: bool = Field(False, description="whether no open address serves it, so that the user names a place")
    where: str = Field("", description="for one that needs a path: the places where people get it")
    declaration: Declaration


def read_declarations(project: Path) -> dict[str, Declaration]:
    """The datasets of a project by name. UsageError that names the entry that is wrong, DataError for no YAML.

    Entries of params.yaml, where earlier releases had them, count too, unless the new file has one of that name.
    """
    values = _content(project / FILE).get("datasets") or {}
    if not isinstance(values, Mapping):
        raise UsageError(f"{FILE}: datasets holds no names and values; write each as NAME: {{source: ...}}")
    earlier = migrate_params(_content(project / "params.yaml"))
    return {str(name): parse_declaration(str(name), one) for name, one in (earlier | dict(values)).items()}


def parse_declaration(name: str, values: Any, place: str = FILE) -> Declaration:
    """One entry. UsageError that says what in it is wrong."""
    try:
        return Declaration.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join([name, *map(str, first["loc"])])
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{place}: {at} = {first['input']!r}: {reason[0].lower()}{reason[1:]}") from None


def declared() -> dict[str, Declaration]:
    """The declarations of the project around the working folder; none outside a project."""
    try:
        project = find_project()
    except UsageError:
        return {}
    return read_declarations(project)


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The ready-made datasets by name."""
    text = resources.files("fewshot.data").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return {name: CatalogueEntry.model_validate(values) for name, values in yaml.safe_load(text).items()}


def _content(file: Path) -> dict[str, Any]:
    """The content of a YAML file; empty if there is none."""
    return read_yaml(file) if file.is_file() else {}
