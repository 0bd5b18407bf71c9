"""One progress bar on a terminal, one line now and then in a log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fewshot.system.text import shown

log = logging.getLogger(__name__)

LINE_EVERY_S = 15.0
PROGRESS = "progress: "
"""The beginning of a line by which a process tells the one that started it how far it is."""


Reporter = Callable[[int, str], None]
"""Told about each step of long work: how many of the total are done, and how it goes."""


@contextmanager
def report_progress(title: str, total: int) -> Iterator[Reporter]:
    """Show progress towards `total` (0: unknown) while the block runs, on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(shown(title), total=total or None, text="")

        def report(done: int, text: str) -> None:
            bar.update(task, completed=done, text=shown(text))

        yield report


class _Lines:
    """Writes a line at most every LINE_EVERY_S seconds, and one for the last step."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._last = title, total, time.monotonic()

    def __call__(self, done: int, text: str) -> None:
        now = time.monotonic()
        if (self._total and done >= self._total) or now - self._last >= LINE_EVERY_S:
            self._last = now
            log.info("%s %s %s", self._title, f"{done}/{self._total}" if self._total else done, text)
