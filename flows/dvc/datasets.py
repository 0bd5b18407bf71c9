"""The datasets of a project: their declarations, as DVC and the user read them, and changes of a user's own images."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from fewshot.data.class_numbers import small_classes
from fewshot.data.episode_shapes import adapted_shapes
from fewshot.data.sources import Source, open_source
from fewshot.data.sources.local import Classes, changes, classes_in, shared_images
from fewshot.data.stages.listing import list_images
from fewshot.errors import UsageError
from fewshot.migrations import migrate_params
from fewshot.project.paths import Home
from fewshot.settings.datasets import check_declared
from fewshot.settings.declarations import FILE, Declaration, parse_declaration, read_declarations
from fewshot.system.files import write_bytes
from fewshot.system.yaml_files import read_yaml

_NAMED = 5
"""Images or classes that one remark names."""
_PARAMS_OF_EARLIER_RELEASES = ("datasets", "downloads", "folder", "frozen")


def source_of(home: Home, dataset: str) -> Source:
    """The source of a dataset of the project; UsageError, with the command that adds it, for one that is not."""
    return open_source(dataset, check_declared(dataset), home.project)


def look(home: Home, dataset: str) -> None:
    """List a dataset's files outside the project for DVC, which compares the list only.

    DataError that names whatever can't be collected.
    """
    source = source_of(home, dataset)
    if hasattr(source.module, "find"):
        list_images(dataset, source, home.data)


def write(home: Home, name: str, declaration: Declaration) -> None:
    """Declare a dataset; comments and all other entries stay. UsageError for an entry that could not be read back."""
    values = declaration.plain()
    parse_declaration(name, values)

    def change(datasets: dict[str, Any]) -> None:
        datasets[name] = _in_lines(values)

    _change(home, change)


def remove(home: Home, name: str) -> None:
    """Take out the declaration of a dataset; its data stay. UsageError for one that is not declared."""
    if name not in read_declarations(home.project):
        raise UsageError(f"{FILE} declares no dataset {name}; `fewshot data list` lists those that it does")
    _change(home, lambda datasets: datasets.pop(name, None))


def migrate(home: Home) -> None:
    """Move the datasets that params.yaml of an earlier release declares to where this release has them."""
    params = home.project / "params.yaml"
    content = read_yaml(params) if params.is_file() else {}
    if not content.keys() & set(_PARAMS_OF_EARLIER_RELEASES):
        return
    found = migrate_params(content)

    def add(datasets: dict[str, Any]) -> None:
        for name, values in found.items():
            if name not in datasets:
                datasets[name] = _in_lines(parse_declaration(name, values, "params.yaml").plain())
            elif values["episodes"]:
                datasets[name]["episodes"].update(values["episodes"])

    _change(home, add)
    yaml, text = _yaml(), BytesIO()
    rest = yaml.load(params)
    for section in _PARAMS_OF_EARLIER_RELEASES:
        rest.pop(section, None)
    if rest:
        yaml.dump(rest, text)
        write_bytes(params, text.getvalue())
    else:
        params.unlink()


def classes(home: Home, dataset: str) -> Classes:
    """The classes of the current version of a dataset of the user's own images; empty before the first version."""
    return classes_in(home.data / dataset / "raw")


def remark(home: Home, dataset: str, before: Classes, after: Classes) -> str:
    """The changes of the classes between two versions, and what is odd about the new one; "" for nothing of both."""
    if before == after:
        return ""
    told = changes(before, after) if before else []
    if shared := shared_images(after):
        pairs = ", ".join(f"{one} = {other}" for one, other in shared[:_NAMED])
        told.append(f"the same image in two classes, {len(shared)} times: {pairs}{_more(shared)}")
    sizes = {name: len(files) for name, files in after.items()}
    shapes = read_declarations(home.project)[dataset].episodes.shapes or adapted_shapes({"test": [*sizes.values()]})
    if small := small_classes(sizes, shapes):
        told.append(f"too small for any episode: {', '.join(small[:_NAMED])}{_more(small)}")
    return f"{dataset}: {'; '.join(told)}" if told else ""


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""


def _change(home: Home, change: Any) -> None:
    """Change the declarations; comments stay."""
    file, yaml, text = home.project / FILE, _yaml(), BytesIO()
    content: Any = {}
    if file.is_file():
        read_yaml(file)  # a conflict or a slip is said before anything is written
        content = yaml.load(file)
    if not isinstance(content.get("datasets"), Mapping):
        content["datasets"] = {}
    change(content["datasets"])
    yaml.dump(content, text)
    file.parent.mkdir(exist_ok=True)
    write_bytes(file, text.getvalue())


def _in_lines(value: Any) -> Any:
    """Plain values with lists of names in one line, as people write them."""
    if isinstance(value, dict):
        return {key: _in_lines(inner) for key, inner in value.items()}
    if isinstance(value, list) and not any(isinstance(inner, dict | list) for inner in value):
        line = CommentedSeq(value)
        line.fa.set_flow_style()
        return line
    return value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096  # long lines stay as they are
    return yaml


def relative(home: Home, place: Path) -> str:
    """A place as a declaration has it: relative to the project where it lies inside."""
    inside = place.is_relative_to(home.project)
    return str(place.relative_to(home.project)) if inside else str(place)
