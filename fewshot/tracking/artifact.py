"""The files of a registered version: model, weights, and the code that travels with them.

MLflow runs that code when it loads a version. Its digest belongs to the version, and is compared before anything of the
files is read here.
"""

import os
import shutil
from pathlib import Path

from fewshot.errors import DamagedFileError, RegistryError
from fewshot.system.files import sha256_file, sha256_json
from fewshot.tracking.store import Store
from fewshot.tracking.versions import CLEANED, Version, find_version, removed

ARTIFACT = "fewshot.artifact_sha256"
"""Tag of a version: digest of all its files by name. Versions of an earlier release have none."""

_ADDED = "registered_model_meta"
"""The file that MLflow adds to a copy of the files."""


def artifact_digest(folder: Path) -> str:
    """One digest of everything below a folder: files by name and bytes, links by where they lead.

    What Python compiled of the code is deleted first: it is run instead of the code that the digest is of.
    """
    for compiled in folder.rglob("__pycache__"):
        shutil.rmtree(compiled, ignore_errors=True)
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return sha256_json({name: told for name, path in found.items() if name != _ADDED and (told := _told(path))})


def _told(path: Path) -> str:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if path.is_dir():
        return ""
    return sha256_file(path) if path.is_file() else "no file"


def is_as_registered(version: Version, folder: Path) -> bool | None:
    """True if the files in a folder are those that were registered; None if the version does not tell."""
    return artifact_digest(folder) == version.tags[ARTIFACT] if ARTIFACT in version.tags else None


def is_whole(store: Store, model: str, version: str) -> bool:
    """False if the files of a version are gone, or are not those that were registered. Quick: MLflow is not imported.

    Files that MLflow keeps elsewhere are not asked for: they are compared when they are used.
    """
    files = store.files_of(model, version)
    if files is None:
        return True
    recorded = store.version_tag(model, version, ARTIFACT)
    return (files / "MLmodel").is_file() and recorded in (None, artifact_digest(files))


def model_folder(store: Store, model: str) -> Path:
    """The model folder behind a path or "models:/NAME@ALIAS".

    Raises RegistryError if there is none, DamagedFileError if a file of the version was changed.
    """
    if not model.startswith("models:/"):
        folder = Path(model).expanduser()
        if not (folder / "model.json").is_file():
            raise RegistryError(f"{folder} holds no model.json; give a model folder or models:/NAME@champion")
        return folder
    version = find_version(store, model)
    if CLEANED in version.tags:
        raise RegistryError(f"{removed(version)} (fewshot lineage {version.model}/{version.number} tells which)")
    files = store.download(version.uri)
    if is_as_registered(version, files) is False:
        raise DamagedFileError(
            f"the files of {version.uri} are not those that were registered, and are not used; the run that made them "
            f"makes them again, and fewshot verify {version.model}/{version.number} shows what they were"
        )
    return model_in(files, version.uri)


def model_in(files: Path, uri: str) -> Path:
    """The model folder among the files of a version; RegistryError if it is no model of this program."""
    folders = [file.parent for file in files.glob("artifacts/*/model.json")]
    if len(folders) != 1:
        raise RegistryError(f"{uri} is no model of this program (no model.json in it); fewshot ui shows those that are")
    return folders[0]
