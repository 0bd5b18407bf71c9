"""dvc.lock and params.yaml, which people and git change: read with an error that says what is wrong in them."""

from pathlib import Path
from typing import Any

import yaml

from fewshot.errors import DataError


def read_yaml(file: Path) -> dict[str, Any]:
    """The content of a YAML file that holds names and values. DataError with the line that is wrong, and the remedy."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}); restore it: git checkout {file.name}") from None
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise DataError(
            f"{file} holds a merge conflict; keep one side (git checkout --ours {file.name}, or --theirs) and run the "
            "same command again"
        )
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "it is no YAML"
        remedy = f"correct it, or restore it: git checkout {file.name}"
        raise DataError(f"{file} is not valid{where} ({said}); {remedy}") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} holds no names and values; restore it: git checkout {file.name}")
    return found
