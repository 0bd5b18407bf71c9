"""Modules of users, loaded from their files."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from fewshot.errors import UsageError
from fewshot.system.files import sha256_file

_loaded: dict[tuple[Path, str], ModuleType] = {}
"""(file, digest) -> module."""


def load_file(file: str | Path) -> ModuleType:
    """The module in a file, loaded once for each content. UsageError if it is not there or can't be imported."""
    path = Path(file).resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {path}; write the path of a Python file, from the folder you are in")
    key = (path, sha256_file(path))
    if key not in _loaded:
        _loaded[key] = _load(path, f"{path.stem}_{key[1][:8]}")
    return _loaded[key]


def is_loaded(file: str | Path) -> bool:
    """True if the module in a file was loaded, with the content that the file has now."""
    path = Path(file).resolve()
    return path.is_file() and (path, sha256_file(path)) in _loaded


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)  # last, so that nothing in it hides an installed module
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    return module
