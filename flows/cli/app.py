"""The `fewshot` command: the library's commands, and those that need the pipeline."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fewshot.cli.app import DEFAULT_PRESET, PresetArgument, SetOption, app
from flows.cli import data, failures, versions  # noqa: F401  # the first two add their commands

app.info.help = "Learn to classify images from a handful of examples a class."
app.info.epilog = "Examples: fewshot run | fewshot run omniglot-maml-5w1s --set train.steps=2000 | fewshot ui"


@app.callback(no_args_is_help=True)
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


@app.command(
    epilog="Examples: fewshot run | fewshot run glyphs-protonet-5w1s --set train.steps=2000 --set seed=1 | "
    "fewshot run --set method.name=maml --set train.learning_rate=0.0005"
)
def run(preset: PresetArgument = DEFAULT_PRESET, settings: SetOption = None) -> None:
    """Run the pipeline: prepare data, meta-train, evaluate, register. What is up to date is not done again."""

    from flows.cli import output

    def load() -> Any:
        from flows.pipeline import pipeline

        return pipeline

    output.results(_run_flow(preset, settings or [], load))


@app.command(
    epilog="Examples: fewshot retrain | fewshot retrain glyphs-protonet-5w1s --set gate.margin=0.002 | "
    "fewshot retrain --set notify.webhook=http://127.0.0.1:8000/hook"
)
def retrain(preset: PresetArgument = DEFAULT_PRESET, settings: SetOption = None) -> None:
    """Run the pipeline if anything changed, and promote the new version only if it is shown to beat the champion."""

    from flows.cli import output

    def load() -> Any:
        from flows.retrain import retrain

        return retrain

    output.outcome(_run_flow(preset, settings or [], load))


@app.command(
    epilog="Examples: fewshot why | fewshot why train | fewshot why evaluate glyphs-protonet-5w1s --set seed=1"
)
def why(
    step: Annotated[str, typer.Argument(help="prepare, train, evaluate or register; all: each of them.")] = "all",
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
) -> None:
    """Say what makes each step stale since the last run of a preset, or that it is up to date."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from flows.cli import output
    from flows.why import why as explain

    home = find_home()
    prepare_environment(home)
    output.verdicts(explain(home, preset, settings, None if step == "all" else step))


MLflowPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow's page.")]
PrefectPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's page.")]


@app.command(epilog="Example: fewshot ui --mlflow-port 5001 --prefect-port 4201")
def ui(mlflow_port: MLflowPort = 5000, prefect_port: PrefectPort = 4200) -> None:
    """Serve MLflow's and Prefect's pages on 127.0.0.1 until Ctrl-C."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from flows.cli import output
    from flows.servers.supervisor import both_servers

    home = find_home()
    prepare_environment(home)
    try:
        with both_servers(home, mlflow_port, prefect_port) as supervisor:
            output.addresses(mlflow_port, prefect_port)
            while True:
                supervisor.watch(60, output.remark)
    except KeyboardInterrupt:
        output.remark("both servers are stopped")


@app.command(
    epilog='Examples: fewshot up | fewshot up omniglot-protonet-5w1s --cron "0 2 * * 1-5" --set gate.margin=0.002 | '
    "fewshot up --check"
)
def up(
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
    cron: Annotated[str, typer.Option(help="When to retrain, as cron writes it, in UTC.")] = "0 3 * * *",
    mlflow_port: MLflowPort = 5000,
    prefect_port: PrefectPort = 4200,
    check: Annotated[bool, typer.Option("--check", help="Only say whether all parts of a running one work.")] = False,
) -> None:
    """Serve both pages, run a worker and retrain on a schedule, on this machine until Ctrl-C."""
    from fewshot.cli.console import print_findings
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.settings.presets import load_settings
    from flows.cli import output
    from flows.servers.supervisor import api_address
    from flows.servers.up import SWEEP_S, everything, free_crashed_runs
    from flows.servers.up import check as examine

    home = find_home()
    prepare_environment(home)
    if check:
        if not print_findings(examine(home)):
            raise typer.Exit(1)
        return
    load_settings(preset, settings)  # a wrong name is said now, not at night
    try:
        with everything(home, mlflow_port, prefect_port, preset, settings or [], cron) as supervisor:
            output.addresses(mlflow_port, prefect_port)
            print(f"retrain {preset} at {cron} (UTC); at once: fewshot retrain", flush=True)
            while True:
                supervisor.watch(SWEEP_S, output.remark)
                free_crashed_runs(home, api_address(prefect_port), output.remark)
    except KeyboardInterrupt:
        output.remark("servers and worker are stopped")


@app.command("env", epilog='Example: eval "$(fewshot env)"; prefect worker start --pool local --type process')
def show_environment() -> None:
    """Print the variables that make the prefect, mlflow and dvc commands use this project's state, for a shell."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import environment

    for name, value in environment(find_home()).items():
        print(f"export {name}={shlex.quote(value)}")


# The commands that most people want come first in the list.
FIRST = ("run", "retrain", "up", "rollback", "history", "lineage", "report", "verify", "why", "ui")
ORDER = {name: place for place, name in enumerate(FIRST)}
app.registered_commands.sort(key=lambda command: ORDER.get(getattr(command.callback, "__name__", ""), len(ORDER)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status. An error is one line on standard error."""
    # A worker or `kill` ends a command as Ctrl-C does: what was started is stopped, what was done is kept.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = app(args=arguments, standalone_mode=False)
        # Typer itself turns Ctrl-C into this status, and says nothing.
        return failures.report(typer.Abort()) if status == failures.INTERRUPTED else int(status or 0)
    except Exception as error:
        return failures.report(error)
    except KeyboardInterrupt:
        return failures.report(typer.Abort())


def _run_flow(preset: str, overrides: list[str], load: Callable[[], Any]) -> dict[str, Any]:
    """Run the flow that `load` imports, with a Prefect server that starts meanwhile."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.settings.presets import load_settings
    from flows.cli import output

    chosen, home = load_settings(preset, overrides), find_home()
    prepare_environment(home)
    if chosen.device not in ("auto", "cpu"):
        from fewshot.system.device import pick_device

        pick_device(chosen.device)
    from flows.servers.ephemeral_prefect import prefect_api

    with output.waiting("starting Prefect"), prefect_api(home) as ready:
        flow = load()
        ready()
    output.heading(chosen.run_name, preset)
    found: dict[str, Any] = flow(preset, overrides)
    return found


def _show_the_library_log() -> None:
    """Lines such as how far a training is, where there is no terminal for a progress bar, go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("    %(message)s"))
    library = logging.getLogger("fewshot")
    library.handlers, library.propagate = [handler], False
    library.setLevel(logging.INFO)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
