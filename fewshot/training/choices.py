"""The table of what a method chose among on validation episodes, every difference paired."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewshot.evaluation.stats import score
from fewshot.methods.base import Choice
from fewshot.system.files import read_json


def compared(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """A row for each choice, the best first: its name, accuracy, and how far it is behind the best, with intervals."""
    ordered = sorted(choices, key=lambda one: -float(one.accuracies.mean()))
    rows = []
    for one in ordered:
        own, behind = score(one.accuracies), score(ordered[0].accuracies - one.accuracies)
        rows.append(
            {"name": one.name, "accuracy": own.accuracy, "ci95": own.ci95}
            | {"behind": behind.accuracy, "behind_ci95": behind.ci95}
        )
    return rows


def read_choices(history: Path) -> list[dict[str, Any]]:
    """The rows that a `history.json` keeps; none for a method that chose nothing."""
    return list(read_json(history, "train again").get("choices", []))


def in_words(rows: Sequence[dict[str, Any]]) -> str:
    """The choice and the runner-up in one sentence; "" for no choice."""
    if not rows:
        return ""
    best = f"{rows[0]['name']} won on validation episodes, {_percent(rows[0]['accuracy'], rows[0]['ci95'])} %"
    if len(rows) < 2:
        return best
    behind = f"{_percent(rows[1]['behind'], rows[1]['behind_ci95'])} points"
    return f"{best}; {rows[1]['name']} is {behind} behind (paired)"


def _percent(share: float, ci95: float) -> str:
    return f"{100 * share:.2f} ± {100 * ci95:.2f}"
