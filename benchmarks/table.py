"""Print the results table of the README from benchmarks/results/*.json.

python benchmarks/table.py
"""

import json
from pathlib import Path
from typing import Any

SHAPES = ("5w1s", "5w5s", "20w1s", "20w5s")


def rows(name: str, found: dict[str, Any]) -> list[str]:
    """A row for each dataset and batch-norm mode that a preset was measured on."""
    measured: dict[tuple[str, str], dict[str, str]] = {}
    for key, one in found["results"].items():
        dataset, _, rest = key.partition("/")
        task, _, mode = rest.partition(" ")
        cell = f"{100 * one['accuracy']:.2f} ± {100 * one['interval']:.2f}"
        measured.setdefault((dataset, mode or "inductive"), {})[task] = cell
    trained = f"{found['training_seconds'] / 60:.1f} min"
    return [
        f"| `{name}` | {dataset} | {mode} | "
        + " | ".join(cells.get(shape, "-") for shape in SHAPES)
        + f" | {trained} |"
        for (dataset, mode), cells in measured.items()
    ]


def table() -> str:
    """The whole table, in Markdown."""
    head = ["| preset (`fewshot run ...`) | tested on | batch norm | " + " | ".join(SHAPES) + " | training |"]
    head.append("|" + "---|" * (len(SHAPES) + 4))
    files = sorted((Path(__file__).parent / "results").glob("*.json"))
    return "\n".join(head + [row for file in files for row in rows(file.stem, json.loads(file.read_text()))])


if __name__ == "__main__":
    print(table())
