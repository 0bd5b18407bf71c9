"""The folder of a user's own images: its place in params.yaml, and the changes of its classes between versions."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from ruamel.yaml import YAML

from fewshot.data.class_numbers import small_classes
from fewshot.data.sources.folder import Classes, FolderOptions, changes, classes_in, shared_images
from fewshot.data.stages.listing import list_images
from fewshot.errors import DataError, UsageError
from fewshot.project.paths import Home
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import write_bytes
from flows.dvc.yaml_files import read_yaml

NAME = "folder"
"""The dataset that is made of it."""

_NAMED = 5
"""Images or classes that one remark names."""


def watch(home: Home, options: FolderOptions) -> None:
    """Name the folder in params.yaml, where DVC's stages read it; comments and all other entries stay."""
    file, yaml, text = home.project / "params.yaml", YAML(), BytesIO()
    yaml.width = 4096  # long lines stay as they are
    read_yaml(file)  # a conflict or a slip is said before anything is written
    params = yaml.load(file)
    params.setdefault(NAME, {}).update(options.model_dump())
    yaml.dump(params, text)
    write_bytes(file, text.getvalue())


def check(home: Home) -> FolderOptions:
    """The folder's options in params.yaml. DataError, with the command that names another, if it does not exist."""
    options = FolderOptions.parse(read_yaml(home.project / "params.yaml").get(NAME))
    if not (home.project / options.path).is_dir():
        raise DataError(f"params.yaml names {options.path}, which is no folder; name yours: fewshot data watch FOLDER")
    return options


def look(home: Home) -> None:
    """List the folder for DVC, which compares the list only. DataError that names whatever can't be collected."""
    options = check(home)
    list_images(options.model_copy(update={"path": str(home.project / options.path)}), home.data)


def classes(home: Home) -> Classes:
    """The classes of the current version of the dataset; empty before the first version."""
    return classes_in(home.data / NAME / "raw")


def remark(home: Home, before: Classes, after: Classes) -> str:
    """The changes of the classes between two versions, and what is odd about the new one; "" for nothing of both."""
    if before == after:
        return ""
    told = changes(before, after) if before else []
    if shared := shared_images(after):
        pairs = ", ".join(f"{one} = {other}" for one, other in shared[:_NAMED])
        told.append(f"the same image in two classes, {len(shared)} times: {pairs}{_more(shared)}")
    shapes = read_yaml(home.project / "params.yaml").get("frozen", {}).get(NAME, {}).get("shapes", {})
    parsed = {split: [EpisodeShape.parse(text) for text in texts] for split, texts in shapes.items()}
    if small := small_classes({name: len(files) for name, files in after.items()}, parsed):
        told.append(f"too small for any episode: {', '.join(small[:_NAMED])}{_more(small)}")
    return f"{NAME}: {'; '.join(told)}" if told else ""


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""


def options(folder: Path, home: Home, **others: object) -> FolderOptions:
    """Options for a folder, relative to the project where it lies inside.

    Raises UsageError for a wrong value, and for what is no folder, holds the project, or is a folder of its own files.
    """
    place = folder.expanduser().resolve()
    if not place.is_dir():
        raise UsageError(f"{place} is no folder; give the folder that holds a folder of images for each class")
    if Path(os.path.expanduser("~")).is_relative_to(place):
        raise UsageError(f"{place} holds your home folder; give a folder of images alone")
    if home.project.is_relative_to(place):
        raise UsageError(f"{place} holds this project itself; give a folder of images alone")
    for own in (home.data, home.state, home.project / ".dvc", home.project / ".git"):
        if place.is_relative_to(own.resolve()) or own.resolve().is_relative_to(place):
            raise UsageError(f"{place} is where fewshot, DVC or git keep files; give a folder of images alone")
    if any("\ud800" <= letter <= "\udfff" for letter in str(place)):
        raise UsageError(f"{place} has a name that is no text; rename it, or give a link to it")
    inside = place.is_relative_to(home.project)
    return FolderOptions.parse({"path": str(place.relative_to(home.project) if inside else place), **others})
