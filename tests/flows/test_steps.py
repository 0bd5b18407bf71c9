"""What flows report while they run: shown by the command line, written as lines elsewhere."""

import logging
from collections.abc import Iterator

import pytest

from flows import steps
from flows.cli.output import Reports


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    before = steps.LOGGER.handlers, steps.LOGGER.propagate, steps.LOGGER.level
    steps.LOGGER.handlers = []
    yield
    steps.LOGGER.handlers, steps.LOGGER.propagate, steps.LOGGER.level = before


def _report() -> None:
    with steps.waiting("starting"):
        steps.step_done("register", False, 1.25)
    steps.step_done("evaluate", True, 0.04)
    steps.remark("a folder [of yours] changed")


def test_a_worker_writes_lines_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    steps.show_as_lines()
    _report()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "  register           ran         1.2 s",
        "  evaluate           cached      0.0 s",
        "note: a folder [of yours] changed",
    ]


def test_the_command_line_shows_steps_on_standard_output_and_remarks_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps.show(Reports())
    steps.show_as_lines()  # as a flow does: the command line keeps its own
    _report()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["  register           ran         1.2 s", "  evaluate           cached      0.0 s"]
    assert err == "note: a folder [of yours] changed\n"


def test_a_report_carries_its_values() -> None:
    taken: list[logging.LogRecord] = []
    handler = steps.ReportHandler()
    handler.emit = taken.append  # type: ignore[method-assign]
    steps.show(handler)
    steps.step_done("register", True, 1.0)
    assert taken[0].__dict__["report"] == steps.StepDone("register", True, 1.0)
