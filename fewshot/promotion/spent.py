"""The part of alpha that earlier tests of a model have spent. It stays spent, whatever the settings say now.

It is kept as a tag of the model, one entry for each day. A tag of a version could be overwritten, or deleted with it.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from fewshot.errors import RegistryError
from fewshot.system.files import canonical_json

TESTS = "fewshot.tests"
"""Tag of a model: JSON list of [time, level]; an earlier release wrote the times alone."""

_DAYS = 1500
"""Days on that list, by their number and not by their age: a clock that is years ahead for a night forgets nothing.
MLflow allows a tag 100,000 characters."""


class Spent(NamedTuple):
    """A test of a challenger, or all those of a day."""

    time: datetime
    """Of the last of them."""
    level: float
    """The sum of their levels."""


def read_spent(tag: str, level: float) -> list[Spent]:
    """The tests that a tag tells of. `level` is taken for those of an earlier release, which did not write it down.

    RegistryError for a tag that is none of ours: what was spent can't be guessed.
    """
    try:
        found = [entry if isinstance(entry, list) else [entry, level] for entry in json.loads(tag or "[]")]
        return [Spent(_time(str(time)), float(spent)) for time, spent in found]
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"the tag {TESTS} of the model is not what was written ({error}); it says what earlier tests spent: "
            "restore it, or delete it to count from nothing"
        ) from None


def write_spent(spent: Sequence[Spent]) -> str:
    """The tag's text: the tests in the order of their making, those of a day as one."""
    days: dict[str, Spent] = {}
    for time, level in spent:
        day = time.date().isoformat()
        before = days.get(day, Spent(time, 0.0))
        days[day] = Spent(max(time, before.time), before.level + level)
    entries = [[time.isoformat(timespec="seconds"), level] for time, level in days.values()]
    return canonical_json(entries[-_DAYS:])


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
