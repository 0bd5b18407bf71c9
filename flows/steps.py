"""Reports of flows and their tasks while they run: finished steps, remarks, and what is being waited for.

Each report is a log record of the logger `flows.steps`; its attribute `report` holds the values. The command line shows
the records on the terminal. A process without it, such as a worker's, writes them as ordinary lines.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fewshot.system.text import shown

LABEL = 18
"""Characters that a step's label takes in a line."""
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepDone:
    """A finished step."""

    label: str
    cached: bool
    seconds: float

    def __str__(self) -> str:
        return f"  {self.label:{LABEL}} {'cached' if self.cached else 'ran':7} {self.seconds:7.1f} s"


@dataclass(frozen=True)
class Remark:
    """One line that the user should know of."""

    text: str

    def __str__(self) -> str:
        return f"note: {self.text}"


@dataclass(frozen=True)
class Waiting:
    """Something that takes a while begins; with "" as its text, it is over."""

    text: str

    def __str__(self) -> str:
        return f"{self.text} ..." if self.text else "done"


def step_done(label: str, cached: bool, seconds: float) -> None:
    """Report a finished step."""
    _report(logging.INFO, StepDone(label, cached, seconds))


def remark(text: str) -> None:
    """Report what the user should know of."""
    _report(logging.WARNING, Remark(text))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Report that something is waited for while the block runs: a spinner on a terminal, nothing elsewhere."""
    _report(logging.DEBUG, Waiting(text))
    try:
        yield
    finally:
        _report(logging.DEBUG, Waiting(""))


def still_waiting(text: str) -> None:
    """Report how far that is which is waited for, in a block of `waiting` or not; "" for the end."""
    _report(logging.DEBUG, Waiting(text))


class ReportHandler(logging.Handler):
    """The base of what shows reports."""


def show(handler: ReportHandler) -> None:
    """Let this handler, and no other, take the records."""
    LOGGER.handlers, LOGGER.propagate = [handler], False
    LOGGER.setLevel(logging.DEBUG)


def show_as_lines() -> None:
    """Write the records to standard error as lines, unless a command line shows them already."""
    if not any(isinstance(handler, ReportHandler) for handler in LOGGER.handlers):
        show(_Lines(logging.INFO))


class _Lines(ReportHandler):
    def emit(self, record: logging.LogRecord) -> None:
        print(shown(self.format(record)), file=sys.stderr, flush=True)


def _report(level: int, report: StepDone | Remark | Waiting) -> None:
    LOGGER.log(level, "%s", report, extra={"report": report})
