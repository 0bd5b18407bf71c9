"""The `fewshot` command: the library's commands, and those that need the pipeline."""

import logging
import os
import signal
import sys
from typing import Annotated

import typer
from typer.models import CommandInfo

from fewshot.cli import app as library
from fewshot.errors import UsageError
from fewshot.system.text import shown, take_any_text
from flows.cli import cleaning, data, failures, running, servers, versions

ORDER = (
    "run", "retrain", "up", "rollback", "history", "lineage", "report", "verify", "why", "ui",
    "train", "evaluate", "classify", "leaderboard", "presets", "encoders", "clean", "doctor", "env",
)  # fmt: skip
"""The commands as `fewshot --help` lists them: first those that most people want."""


def build_app() -> typer.Typer:
    """All commands."""
    app = library.build_app()
    app.info.help = "Learn to classify images from a handful of examples a class."
    app.info.epilog = "Examples: fewshot run | fewshot run omniglot-maml-5w1s --set train.steps=2000 | fewshot ui"
    app.callback(no_args_is_help=True)(options)
    running.add_to(app)
    servers.add_to(app)
    versions.add_to(app)
    cleaning.add_to(app)
    data.add_to(_group(app, "data"))
    app.registered_commands.sort(key=_place)
    return app


def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log lines.")] = False,
) -> None:
    """Learn to classify images from a handful of examples a class: data, training, evaluation, registry in one run."""
    _show_the_library_log()
    if debug:
        os.environ[failures.DEBUG] = "1"
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO")
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "ERROR")
    else:  # or a Prefect server that is gone makes a line for every few log lines that it did not take
        logging.raiseExceptions = False


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status. An error is one line on standard error."""
    # A worker or `kill` ends a command as Ctrl-C does: what was started is stopped, what was done is kept.
    signal.signal(signal.SIGTERM, _interrupt)
    take_any_text()
    try:
        _check_working_folder()
        status = build_app()(args=arguments, standalone_mode=False)
        # Typer itself turns Ctrl-C into this status, and says nothing.
        return failures.report(typer.Abort()) if status == failures.INTERRUPTED else int(status or 0)
    except Exception as error:
        return failures.report(error)
    except KeyboardInterrupt:
        return failures.report(typer.Abort())


def _group(app: typer.Typer, name: str) -> typer.Typer:
    [group] = [found.typer_instance for found in app.registered_groups if found.name == name]
    assert group is not None
    return group


def _check_working_folder() -> None:
    """UsageError if the working folder was deleted: Python, torch and git each fail there in words of their own."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working folder was deleted; go to one that is there, such as the project's") from None


def _place(command: CommandInfo) -> int:
    return ORDER.index(command.name or getattr(command.callback, "__name__", ""))


def _show_the_library_log() -> None:
    """Lines such as how far a training is, where there is no terminal for a progress bar, go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("    %(message)s"))
    log = logging.getLogger("fewshot")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


class _Plain(logging.Formatter):
    """Lines in which names of files and classes are text, whatever they hold."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record), keep="\n")


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
