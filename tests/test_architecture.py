"""Imports point one way, and only a few rooms know the big tools."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "fewshot").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])

LAYERS = [
    {"errors"},
    {"method_settings"},
    {
        "config",
        "files",
        "randomness",
        "home",
        "stats",
        "progress",
        "stopping",
        "device",
        "keys",
        "doctor",
        "owner",
        "photos",
        "screen",
    },
    {"preset"},
    {"data", "backbones", "lineage", "figures", "mlflow_store"},
    {"methods"},
    {"model", "parallel"},
    {"scoring", "step"},
    {"checkpoint", "train", "evaluate", "classifier"},
    {"gate"},
    {"tracking", "curve", "registry", "mlflow_model", "comparison"},
    {"leaderboard", "promotion", "report"},
    {"cli", "cli_data", "__main__"},
]
"""The rooms of fewshot/, lowest first; a module imports from its own layer and those below."""

KNOWS = {
    "prefect": {"flows"},
    "mlflow": {"mlflow_store", "tracking", "curve", "registry", "mlflow_model", "promotion"},
    "dvc": set(),
    "typer": {"cli", "cli_data", "flows"},
}
"""Which rooms may import a tool; DVC is called by its command line only."""


def room(module: str) -> str:
    """ "fewshot.data.pack" is in the room "data", all of flows in "flows"."""
    parts = module.split(".")
    return parts[1] if parts[0] == "fewshot" and len(parts) > 1 else parts[0]


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            found |= {node.module or ""} if node.module != "fewshot" else {f"fewshot.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    height = {name: place for place, names in enumerate(LAYERS) for name in names}
    for name in imports_of(path):
        top = name.split(".")[0]
        if top == "flows":
            assert own == "flows", f"{path} imports {name}, but the library knows nothing of its flows"
        if top == "fewshot" and own in height:
            assert height[room(name)] <= height[own], f"{path} imports {name}, which stands above it"
        assert own in KNOWS.get(top, {own}), f"{path} imports {top}, which only {sorted(KNOWS[top])} may"


def test_every_room_has_its_place() -> None:
    rooms = {room(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in MODULES}
    assert rooms - {"flows", "__init__", "fewshot"} == set().union(*LAYERS)
