"""YAML files and DVC's configuration, which people and git change: what is wrong in them is said."""

from pathlib import Path
from typing import Any

import yaml
from configobj import ConfigObj, ConfigObjError

from fewshot.errors import DataError


def read_yaml(file: Path) -> dict[str, Any]:
    """The content of a YAML file that holds names and values. DataError with the line that is wrong, and the remedy."""
    text = _text(file, _git_name(file))
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "it is no YAML"
        remedy = f"correct it, or restore it: git checkout {_git_name(file)}"
        raise DataError(f"{file} is not valid{where} ({said}); {remedy}") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} holds no names and values; restore it: git checkout {_git_name(file)}")
    return found


def check_config(file: Path) -> None:
    """DataError, with the remedy, if a configuration file of DVC's can't be read; there need not be one."""
    if not file.exists():
        return
    text = _text(file, f".dvc/{file.name}")
    try:
        ConfigObj(text.splitlines())
    except ConfigObjError as error:
        remedy = f"correct it, or restore it: git checkout .dvc/{file.name}"
        raise DataError(f"{file} is no configuration of DVC's ({error}); {remedy}") from None


def _git_name(file: Path) -> str:
    """The name of a file of the project for git: with its folder, if that is the one of the data."""
    return f"data/{file.name}" if file.parent.name == "data" else file.name


def _text(file: Path, name: str) -> str:
    """The text of a file without a conflict; `name` is what git calls it."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}); restore it: git checkout {name}") from None
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise DataError(
            f"{file} holds a merge conflict; keep one side (git checkout --ours {name}, or --theirs) and run the same "
            "command again"
        )
    return text
