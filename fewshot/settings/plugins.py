"""Methods and backbones by name, the package's own and those of a user.

A user's own one is named by a reference instead, "my_module:CosineNet" or "dir/my_net.py:CosineNet". The rooms of
methods and backbones stand above this one; they are imported by name, when something in them is asked for.
"""

import importlib.util
import logging
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from fewshot.errors import UsageError, unknown
from fewshot.system.files import sha256_file
from fewshot.system.modules import is_loaded, load_file

log = logging.getLogger(__name__)

Kind = Literal["method", "backbone"]


class _Room(NamedTuple):
    package: str
    table: str
    base: str


_ROOMS: dict[Kind, _Room] = {
    "method": _Room("fewshot.methods", "METHODS", "fewshot.methods.base:Method"),
    "backbone": _Room("fewshot.backbones", "BACKBONES", "fewshot.backbones.base:Backbone"),
}


def names(kind: Kind) -> tuple[str, ...]:
    """The names of the package's own methods or backbones; the first is the default."""
    return tuple(_table(kind))


def find(kind: Kind, name: str) -> Any:
    """The class of a method or backbone, by name or reference.

    UsageError for an unknown name (with the nearest one), and for a reference whose module can't be imported, whose
    class is missing, or is no method or backbone.
    """
    own = _table(kind)
    if ":" not in name and name not in own:
        raise unknown(kind, name, own)
    reference = own.get(name, name)
    place, _, class_name = reference.rpartition(":")
    module = import_module(place) if name in own else _import(kind, reference, place)
    found = getattr(module, class_name, None)
    if found is None:
        here = [
            value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
        ]
        defined = [value.__name__ for value in here if not value.__name__.startswith("_")]
        hint = f"it defines {', '.join(defined)}" if defined else "it defines no class"
        raise UsageError(f"{kind}.name={reference}: {place} has no class {class_name}; {hint}")
    base_place, _, base_name = _ROOMS[kind].base.partition(":")
    base = getattr(import_module(base_place), base_name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"{kind}.name={reference}: {class_name} is no subclass of {base_place}.{base_name}")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UsageError(f"{kind}.name={reference}: {class_name} does not define {', '.join(missing)}")
    return found


def code_entries(settings: Any, kinds: tuple[Kind, ...] = ("method", "backbone")) -> tuple[str, ...]:
    """The modules that a training with these settings reaches by name: those of its method and its backbone.

    A module of this package by its dotted name, a user's as the path of its file; `code_hashes` takes both.
    """
    entries = []
    for kind in kinds:
        name = getattr(settings, kind).name
        entries.append(str(_source(kind, name)) if ":" in name else _table(kind)[name].partition(":")[0])
    return tuple(entries)


def plugin_sources(settings: Any) -> dict[str, str]:
    """Reference -> SHA-256 of its source file, for a method and backbone from outside the package."""
    chosen = {kind: getattr(settings, kind).name for kind in _ROOMS}
    return {name: sha256_file(_source(kind, name)) for kind, name in chosen.items() if ":" in name}


def refuse_code(values: Mapping[str, Any], place: object) -> None:
    """UsageError if plain settings, those of `place`, name code from outside that this process does not run already.

    Settings that came with a model may be a stranger's, and to read them must not run what they name.
    """
    for kind in _ROOMS:
        section = values.get(kind)
        name = section.get("name") if isinstance(section, Mapping) else None
        if isinstance(name, str) and ":" in name and not _is_running(name):
            raise UsageError(
                f"{place} names code that is not fewshot's own ({kind}.name={name}), and loading a model runs none; "
                "if you trust that code, say so: --trust-code, or trust_code=True in Python"
            )


def warn_of_changed_sources(recorded: Mapping[str, str], settings: Any) -> list[str]:
    """Compare a model's plugin sources with those that are there now; each that changed is logged and returned."""
    now = plugin_sources(settings)
    changed = [reference for reference, digest in recorded.items() if now.get(reference) != digest]
    for reference in changed:
        log.warning("%s has changed since this model was trained with it; its answers may differ", reference)
    return changed


def _table(kind: Kind) -> dict[str, str]:
    room = _ROOMS[kind]
    return dict(getattr(import_module(room.package), room.table))


def _import(kind: Kind, reference: str, place: str) -> ModuleType:
    source = _source(kind, reference)
    if not place.endswith(".py") and importlib.util.find_spec(place) is not None:
        return import_module(place)
    try:
        return load_file(source)
    except UsageError as error:
        raise UsageError(f"{kind}.name={reference}: {error}") from error


def _source(kind: Kind, reference: str) -> Path:
    """The source file of a user's module: a path as it is, else an importable module, else one in this folder."""
    place = reference.rpartition(":")[0]
    local = _local(place)
    try:
        spec = None if place.endswith(".py") else importlib.util.find_spec(place)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin and Path(spec.origin).is_file():
        return Path(spec.origin)
    if local.is_file():
        return local
    what = f"there is no file {local.resolve()}" if place.endswith(".py") else f"no module {place} can be imported"
    raise UsageError(
        f"{kind}.name={reference}: {what}; write the path of a file (dir/my_net.py:Net) or an installed module "
        "(my_module:Net), and run the command in the folder that the path starts from"
    )


def _local(place: str) -> Path:
    return Path(place if place.endswith(".py") else place.replace(".", "/") + ".py")


def _is_running(reference: str) -> bool:
    """True if the module of a reference was imported already. Imports nothing, not even a package to look into it."""
    place = reference.rpartition(":")[0]
    return (not place.endswith(".py") and place in sys.modules) or is_loaded(_local(place))
