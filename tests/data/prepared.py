"""Datasets of the catalogue, or like them, taken through all stages as DVC calls them."""

import hashlib
from pathlib import Path
from typing import Any

from fewshot.data.pack import Pack, open_pack
from fewshot.data.sources import open_source
from fewshot.data.stages.fetch import fetch
from fewshot.data.stages.pack import pack
from fewshot.data.stages.split import split
from fewshot.settings.datasets import definitions_of
from fewshot.settings.declarations import Declaration, EpisodeOptions, catalogue


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def changed(name: str, **options: Any) -> Declaration:
    """A declaration of the catalogue with further options and few episodes."""
    declaration = catalogue()[name].declaration
    episodes = EpisodeOptions(number=2)
    return declaration.model_copy(update={"options": declaration.options | options, "episodes": episodes})


def prepare(name: str, declaration: Declaration, root: Path, data: Path) -> Pack:
    """All stages, as DVC calls them."""
    source = open_source(name, declaration, root)
    fetch(name, source, data)
    assert sorted(file.name for file in (data / name / "raw").iterdir()) == sorted(source.files)
    pack(name, source, data)
    split(name, definitions_of(name, declaration, root), data, declaration.episodes)
    assert sorted(file.name for file in (data / name).iterdir()) == ["pack", "raw", "split"]
    return open_pack(data / name / "pack")


def sizes(packed: Pack) -> dict[str, int]:
    return {one.name: one.count for one in packed.classes}
