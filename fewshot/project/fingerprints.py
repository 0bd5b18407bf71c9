"""Fingerprints of what makes a step stale: the settings it reads, the code it reaches and the locked environment.

The code key covers the import closure of an entry, found by reading the `import` statements: a module of this project,
or a user's file with the modules beside it. Each module counts by its syntax tree without docstrings and positions.
Therefore a comment or a new line break changes nothing, while a changed line changes every step that can reach it.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fewshot.errors import UsageError
from fewshot.system.files import sha256_file, sha256_json

PACKAGES = ("fewshot", "flows")
SOURCES = Path(__file__).resolve().parents[2]
"""The folder that holds the packages."""


def code_hashes(entry: str, sources: Path = SOURCES) -> dict[str, str]:
    """A hash for each module that importing `entry` can reach, itself included.

    `entry` is a module below `sources` ("fewshot.training.loop") or the path of a user's file ("dir/my_net.py"), which
    is named by its place in its folder, so that the folder may move.
    """
    beside, waiting = None, [entry]
    if entry.endswith(".py"):
        beside = _folder_of(Path(entry))
        waiting = [".".join(Path(entry).resolve().relative_to(beside).with_suffix("").parts)]
    hashes: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        file = _file_of(module, sources, beside)
        if file is None or module in hashes:
            continue
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        hashes[module], imported = _read(file.read_bytes(), str(file), package)
        waiting += [parent for name in imported for parent in _with_parents(name)]
        waiting += _with_parents(module)
    if not hashes:
        raise UsageError(f"module {entry} has no source file below {beside or sources}; reinstall the package")
    return dict(sorted(hashes.items()))


def code_key(entry: str, sources: Path = SOURCES) -> str:
    """One hash over `code_hashes`."""
    return sha256_json(code_hashes(entry, sources))


def pick(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The settings below `names` ("train", "data", ...), flat: {"train.steps": 400, ...}."""
    return flatten({name: settings[name] for name in names})


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def requirements_hash(project: Path) -> str:
    """Hash of requirements.lock, or "none" in a project without one."""
    lock = project / "requirements.lock"
    return sha256_file(lock) if lock.is_file() else "none"


@cache
def _read(content: bytes, file: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module and the names that it imports. Kept, as most modules are reached from several entries."""
    tree = _bare(ast.parse(content, filename=file))
    return sha256_json(ast.dump(tree)), tuple(_imports(tree, package))


def _folder_of(file: Path) -> Path:
    """The folder from which a file is imported: the first above it that is no package."""
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _file_of(module: str, sources: Path, beside: Path | None) -> Path | None:
    folder = sources if module.partition(".")[0] in PACKAGES else beside
    if folder is None:
        return None
    place = folder.joinpath(*module.split("."))
    files = (place.with_name(place.name + ".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            # `from package import module` names a module; a name that is none has no file and is passed over.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without what has no effect when it runs: docstrings, and imports for the type checker alone."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            lines = getattr(node, field, None)
            if isinstance(lines, list):
                kept = [line for line in lines if not _is_text(line) and not _is_for_type_checker(line)]
                setattr(node, field, kept or ([ast.Pass()] if lines else []))
    return tree


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _is_for_type_checker(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.If)
        and not line.orelse
        and isinstance(line.test, ast.Name)
        and line.test.id == "TYPE_CHECKING"
    )
