"""Print the results table of the README from the recorded runs in omniglot/.

python benchmarks/table.py
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHAPES = ("5w1s", "5w5s", "20w1s", "20w5s")

PUBLISHED = {
    "protonet": "98.8, 99.7, 96.0, 98.9",
    "matching": "98.1, 98.9, 93.8, 98.5",
    "relation": "99.6, 99.8 (chosen on test; FSL-Mate 98.0, 99.3)",
    "maml": "98.7, 99.9, 95.8, 98.9 (t)",
    "maml, first order": "98.3, 99.2, 89.4, 97.9 (t)",
    "anil": "-, -, 96.2, 98.0 (t)",
    "metasgd": "99.5, 99.9 (t)",
    "maml++": "99.5, 99.9, 97.7, 99.3 (t, 5 networks)",
    "reptile": "95.4, 98.9, 88.1, 96.7; 97.7, 99.5, 89.4, 97.1 (t)",
}
"""On Omniglot, in the order of SHAPES; (t): transductive. ProtoNet: Snell et al. 2017; Matching Networks and MAML: Finn
et al. 2017, table 1; RelationNet: Sung et al. 2018; first-order MAML and Reptile: Nichol et al. 2018, table 2; ANIL:
Raghu et al. 2020; Meta-SGD: Li et al. 2017; MAML++: Antoniou et al. 2019."""


def row(preset: str, found: dict[str, Any]) -> str:
    """What a preset reached."""
    cells = [_cell(found["results"], f"omniglot/{shape}") for shape in SHAPES]
    train, seconds = found["settings"]["train"], found["training_seconds"]
    protocol = f"{found['steps'] * train['tasks']:,} x {train['episode']}"
    published = PUBLISHED.get(_method(found["settings"]["method"]), "-")
    members = found["settings"]["method"].get("ensemble", 1)
    name = f"`{preset.removeprefix('omniglot-')}`" + (f", mean of {members}" if members > 1 else "")
    return "| " + " | ".join([name, *cells, protocol, f"{seconds / 60:.1f}", published]) + " |"


def table() -> str:
    """The whole table, in Markdown."""
    head = ["`omniglot-`", *SHAPES, "trained on", "min", "published"]
    files = sorted((HERE / "omniglot").glob("*.json"))
    rows = [row(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows])


def _method(settings: dict[str, Any]) -> str:
    """The name of a method as PUBLISHED has it."""
    return f"{settings['name']}, first order" if settings.get("order") == "first" else str(settings["name"])


def _cell(results: dict[str, Any], name: str) -> str:
    """Inductive, and where it differs transductive accuracy."""
    found = {mark: results[key] for mark, key in (("", name), ("t ", f"{name} transductive")) if key in results}
    texts = [f"{mark}{100 * one['accuracy']:.2f} ± {100 * one['ci95']:.2f}" for mark, one in found.items()]
    return ", ".join(texts) or "-"


if __name__ == "__main__":
    print(table())
