"""Datasets by name: those that a project declares, and those of the package's catalogue."""

from pathlib import Path
from typing import Any

from fewshot.errors import UsageError, unknown
from fewshot.project.paths import find_project
from fewshot.settings.declarations import FILE, Declaration, catalogue, declared
from fewshot.settings.published import published_scheme, published_schemes
from fewshot.system.modules import load_file

HASH = {"shares": {"test": 0.2, "val": 0.3, "train": 0.5}}
"""The scheme "hash": by a hash of the class name, so that a class stays in its split whatever comes and goes. The order
counts; val is shared out between val and gate."""
TEST_ONLY: dict[str, Any] = {"rest": "test"}
"""The scheme "test-only": every class is held out, for an encoder that was trained on other images."""
COLUMN = {"rest": "column"}
"""The scheme "column": as the table of the images says."""
_BUILT_IN = {"hash": HASH, "test-only": TEST_ONLY, "column": COLUMN}


def dataset_names() -> tuple[str, ...]:
    """All datasets that `data.dataset` takes here: those of the project, then those of the catalogue."""
    return tuple(dict.fromkeys([*declared(), *catalogue()]))


def declaration_of(dataset: str) -> Declaration:
    """The declaration of a dataset of the project, or of the catalogue; UsageError for an unknown one."""
    own = declared()
    if dataset in own:
        return own[dataset]
    if dataset not in catalogue():
        said = unknown("dataset", dataset, dataset_names())
        raise (
            said
            if "did you mean" in str(said)
            else UsageError(f"{said}, or add yours: fewshot data add {dataset} FOLDER")
        )
    return catalogue()[dataset].declaration


def home_page(dataset: str) -> str:
    """The address of a dataset's page, or of the user's own images their place."""
    entry = catalogue().get(dataset)
    own = declaration_of(dataset)
    return entry.home if entry else own.path or own.source


def check_declared(dataset: str) -> Declaration:
    """The declaration of a dataset of this project. UsageError, with the command that adds it, if it has none."""
    found = declaration_of(dataset)
    if dataset not in declared():
        path = " PATH" if catalogue()[dataset].needs_path else ""
        raise UsageError(f"dataset {dataset} is not in this project yet; add it: fewshot data add {dataset}{path}")
    return found


def schemes_of(dataset: str) -> tuple[str, ...]:
    """The split schemes of a dataset; the first is the default. UsageError for an unknown dataset."""
    return tuple(definitions(dataset))


def check_scheme(dataset: str, scheme: str = "") -> str:
    """The scheme, or the dataset's default one for ""; UsageError, with the nearest name, for an unknown one."""
    schemes = schemes_of(dataset)
    if scheme and scheme not in schemes:
        raise unknown(f"split scheme of {dataset}", scheme, schemes)
    return scheme or schemes[0]


def definitions(dataset: str) -> dict[str, Any]:
    """Scheme -> its definition, as `fewshot.data.splits.assign_classes` reads it. UsageError for an unknown one."""
    return definitions_of(dataset, declaration_of(dataset), _project())


def definitions_of(dataset: str, declaration: Declaration, project: Path) -> dict[str, Any]:
    """As `definitions`, of a declaration in a project."""
    if not declaration.splits:
        return _of_source(declaration, project)
    found: dict[str, Any] = {}
    for one in declaration.splits:
        found |= one if isinstance(one, dict) else {one.rpartition("/")[2]: _named(dataset, one)}
    return found


def _project() -> Path:
    """The folder at which the path of a source starts: the project; outside a project, the package's folder."""
    try:
        return find_project()
    except UsageError:
        return Path(__file__).resolve().parents[2]


def _of_source(declaration: Declaration, project: Path) -> dict[str, Any]:
    found = getattr(load_file(project / declaration.source), "SPLITS", None)
    if not isinstance(found, dict) or not found:
        raise UsageError(
            f"{declaration.source} declares no split scheme; add "
            f'SPLITS = {{"hash": {{"shares": {{"train": 0.6, ...}}}}}} to it, or splits: [hash] to {FILE}'
        )
    return found


def _named(dataset: str, scheme: str) -> dict[str, Any]:
    if scheme in _BUILT_IN:
        return dict(_BUILT_IN[scheme])
    known = published_schemes()
    if scheme not in known:
        raise unknown(f"split scheme of {dataset}", scheme, (*_BUILT_IN, *known))
    return published_scheme(scheme)
