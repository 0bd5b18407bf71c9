"""Imports point one way, from room to room, and only a few rooms know the big tools."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "fewshot").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])

ROOMS = (
    ("errors", "randomness"),
    ("migrations",),
    ("system",),
    ("project",),
    ("settings",),
    ("data",),
    ("backbones",),
    ("methods",),
    ("model_files", "model"),
    ("evaluation",),
    ("training",),
    ("classifier",),
    ("tracking",),
    ("promotion",),
    ("reporting",),
    ("cli",),
    ("flows",),
)
"""The rooms, the lowest first; a module imports from its own room and from those below."""

KNOWS = {"prefect": {"flows"}, "mlflow": {"tracking"}, "dvc": set(), "typer": {"cli", "flows"}}
"""The rooms that may import a tool; DVC is called by its command line only."""


PRINTS = {
    "fewshot.data.__main__": "errors of DVC's stages",
    "flows.steps": "the lines of a process without a command line",
}
"""Modules that print although they are no command line, and what."""


def room(module: str) -> str:
    """The room of a module: "data" of "fewshot.data.pack", "flows" of all of flows."""
    parts = module.split(".")
    return parts[1] if parts[0] == "fewshot" and len(parts) > 1 else parts[0]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            found |= {node.module or ""} if node.module != "fewshot" else {f"fewshot.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    height = {name: place for place, names in enumerate(ROOMS) for name in names}
    for name in imports_of(path):
        top = name.split(".")[0]
        if top in ("fewshot", "flows") and own in height:
            assert height[room(name)] <= height[own], f"{path} imports {name}, which stands above it"
        assert own in KNOWS.get(top, {own}), f"{path} imports {top}, which only {sorted(KNOWS[top])} may"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_lines_know_the_command_line_and_print(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if module.startswith(("fewshot.cli.", "flows.cli.")):
        return
    assert not [name for name in imports_of(path) if name.startswith(("fewshot.cli", "flows.cli"))]
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert "print" not in names or module in PRINTS, f"{path} prints"


def test_every_room_has_its_place() -> None:
    rooms = {room(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in MODULES}
    assert rooms - {"__init__", "fewshot"} == {name for names in ROOMS for name in names}
