"""Datasets by name: those of the package, and those of the project, which its params.yaml declares."""

import json
from importlib import resources
from typing import Any

import yaml

from fewshot.errors import UsageError, unknown
from fewshot.project.paths import find_project
from fewshot.system.modules import load_file

DATASETS = ("glyphs", "digits", "omniglot", "folder")
"""The package's own; each has a module in `fewshot.data.sources` and its split schemes in `fewshot.data.published`."""


def dataset_names() -> tuple[str, ...]:
    """All datasets that `data.dataset` takes here."""
    return tuple(dict.fromkeys([*DATASETS, *declared()]))


def schemes_of(dataset: str) -> tuple[str, ...]:
    """The split schemes of a dataset; the first is the default. UsageError for an unknown dataset."""
    if dataset not in DATASETS and dataset not in declared():
        raise unknown("dataset", dataset, dataset_names())
    return tuple(definitions(dataset))


def check_scheme(dataset: str, scheme: str = "") -> str:
    """The scheme, or the dataset's default one for ""; UsageError, with the nearest name, for an unknown one."""
    schemes = schemes_of(dataset)
    if scheme and scheme not in schemes:
        raise unknown(f"split scheme of {dataset}", scheme, schemes)
    return scheme or schemes[0]


def definitions(dataset: str) -> dict[str, Any]:
    """Scheme -> its definition, as `fewshot.data.splits.assign_classes` reads it."""
    if dataset in DATASETS:
        text = resources.files("fewshot.data").joinpath("published", f"{dataset}.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["splits"])
    file = declared()[dataset]
    found = getattr(load_file(file), "SPLITS", None)
    if not isinstance(found, dict) or not found:
        raise UsageError(
            f'{file} declares no split scheme; add SPLITS = {{"hash": {{"shares": {{"train": 0.6, ...}}}}}}'
        )
    return found


def declared() -> dict[str, str]:
    """Dataset -> the file of its source, for those of the project's own; nothing outside a project."""
    try:
        project = find_project()
        listed = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["datasets"]
        files = {str(name): str(project / str(file)) for name, file in dict(listed).items()}
    except (UsageError, OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}
    return {name: file for name, file in files.items() if name not in DATASETS}
