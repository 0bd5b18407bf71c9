"""Formats of what is stored, and how that of an earlier release is read as the present one would have written it.

Everything that outlives a process carries a format number: `model.json`, the records of steps and trainings ("format"),
the tags of runs and versions (FORMAT_TAG). What has none is of format 1. Each step from one format to the next is one
function here, so that the rest of the library knows the present format only.

    1 -> 2    the method "metalearner" is called "learned_optimizer", the setting data.split data.split_scheme,
              and a half width "interval" is "ci95"
"""

import re
from collections.abc import Mapping
from typing import Any

from fewshot.errors import DamagedFileError

FORMAT = 2
FORMAT_TAG = "fewshot.format"
"""Tag of a run or a model version: the format of its other tags."""

RENAMED_METHODS = {"metalearner": "learned_optimizer"}
RENAMED_PRESETS = {"omniglot-metalearner-5w1s": "omniglot-learned-optimizer-5w1s"}
_OWN_FILES = "fewshot/data/sources/local.py"
_EARLIER_DATASETS: dict[str, dict[str, Any]] = {
    "glyphs": {"splits": ["glyphs/scripts"]},
    "digits": {"splits": ["digits/all"]},
    "omniglot": {
        "options": {"side": 28, "channels": 1, "ink": "bright"},
        "splits": ["omniglot/vinyals", "omniglot/background"],
    },
}
"""Datasets that params.yaml of earlier releases named without more."""
RENAMED_SETTINGS = {"data.split": "data.split_scheme"}
_RENAMED_NUMBERS = {"interval": "ci95", "val_interval": "val_ci95", "best_val_interval": "best_val_ci95"}


def format_of(values: Mapping[str, Any], place: object) -> int:
    """The format of a stored object; DamagedFileError, naming `place`, for one of a later release."""
    found = values.get("format", values.get(FORMAT_TAG, 1))
    number = int(found) if re.fullmatch("[0-9]{1,4}", str(found)) else 0
    if not 1 <= number <= FORMAT:
        raise DamagedFileError(
            f"{place} has format {found!r}; this release reads formats 1 to {FORMAT}: install a newer fewshot"
        )
    return number


def migrate_settings(values: Mapping[str, Any], is_chosen: bool = False) -> dict[str, Any]:
    """Settings as plain values, with the names of this release. Present ones stay as they are.

    `is_chosen`: they are a user's own, as those of a preset, and not those of a record.
    """
    migrated = dict(values)
    if isinstance(method := migrated.get("method"), Mapping) and method.get("name") in RENAMED_METHODS:
        migrated["method"] = {**method, "name": RENAMED_METHODS[method["name"]]}
    for old, new in RENAMED_SETTINGS.items():
        (section, name), renamed = old.split("."), new.partition(".")[2]
        if isinstance(inside := migrated.get(section), Mapping) and name in inside:
            migrated[section] = {renamed if key == name else key: value for key, value in inside.items()}
    if isinstance(inside := migrated.get("notify"), Mapping) and not is_chosen:
        migrated["notify"] = {**inside, "webhook": ""}  # a secret, which earlier releases stored
    return migrated


def migrate_description(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `model.json`."""
    migrated = {"sources": {}, **values, "format": FORMAT, "settings": migrate_settings(values["settings"])}
    data = dict(migrated["data"])
    if "split" in data:
        data["split_scheme"] = data.pop("split")
    return migrated | {"data": data}


def migrate_numbers(values: Any) -> Any:
    """Measured numbers, however nested: evaluations, promotion records, points of a training curve."""
    if isinstance(values, Mapping):
        return {_RENAMED_NUMBERS.get(key, key): migrate_numbers(value) for key, value in values.items()}
    return [migrate_numbers(value) for value in values] if isinstance(values, list | tuple) else values


def migrate_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """The datasets of a project as data/datasets.yaml holds them, from the params.yaml of an earlier release.

    There `datasets` named a source for each, `frozen` the fixed episodes, `folder` the one folder of the user's own.
    """
    found: dict[str, Any] = {}
    for name, source in _mapping(values.get("datasets")).items():
        fixed = _mapping(_mapping(values.get("frozen")).get(name))
        episodes = {"number" if key == "episodes" else key: value for key, value in fixed.items()}
        found[name] = {"source": source, **_EARLIER_DATASETS.get(name, {}), "episodes": episodes}
    if "folder" in found and (folder := dict(_mapping(values.get("folder")))):
        path = folder.pop("path", "")
        found["folder"] |= {"source": _OWN_FILES, "path": path, "options": folder, "splits": ["hash"]}
    return {name: one for name, one in found.items() if name != "folder" or one.get("path", "") != "my-images"}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
