"""The commands about servers: `fewshot ui`, `fewshot up` and `fewshot env`."""

from typing import Annotated

import typer

from fewshot.cli.commands import DEFAULT_PRESET, PresetArgument, SetOption, in_project
from fewshot.project.paths import Home

MLflowPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow's page.")]
PrefectPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's page.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: fewshot ui --mlflow-port 5001 --prefect-port 4201")(in_project(ui))
    app.command(
        epilog='Examples: fewshot up | fewshot up omniglot-protonet-5w1s --cron "0 2 * * 1-5" '
        "--timezone Europe/Berlin --set gate.margin=0.002 | fewshot up --check",
    )(in_project(up))
    example = 'Example: eval "$(fewshot env)"; prefect worker start --pool local --type process'
    app.command("env", epilog=example)(show_environment)


def ui(home: Home, mlflow_port: MLflowPort = 5000, prefect_port: PrefectPort = 4200) -> None:
    """Serve MLflow's and Prefect's pages on 127.0.0.1 until Ctrl-C."""
    from flows import steps
    from flows.cli import output
    from flows.servers.both import both_servers

    steps.show(output.Reports())
    try:
        with both_servers(home, mlflow_port, prefect_port) as supervisor:
            output.addresses(home, mlflow_port, prefect_port)
            while True:
                supervisor.watch(60, steps.remark)
    except KeyboardInterrupt:
        steps.remark("both servers are stopped")


def up(
    home: Home,
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
    cron: Annotated[str, typer.Option(help="When to retrain, as cron writes it.")] = "0 3 * * *",
    timezone: Annotated[str, typer.Option(help="Time zone of --cron, such as Europe/Berlin.")] = "UTC",
    mlflow_port: MLflowPort = 5000,
    prefect_port: PrefectPort = 4200,
    check: Annotated[bool, typer.Option("--check", help="Only say whether all parts of a running one work.")] = False,
) -> None:
    """Serve both pages, run a worker and retrain on a schedule, on this machine until Ctrl-C."""
    from fewshot.cli.console import print_findings
    from fewshot.settings.presets import load_settings
    from fewshot.settings.secrets import take_secrets
    from flows import steps
    from flows.cli import output
    from flows.servers.prefect_server import api_address
    from flows.servers.schedule import Schedule, check_schedule
    from flows.servers.up import check as examine
    from flows.servers.up import everything, look_after

    if check:
        if not print_findings(examine(home)):
            raise typer.Exit(1)
        return
    steps.show(output.Reports())
    schedule = Schedule(cron, timezone, preset, take_secrets(settings or []))
    load_settings(preset, schedule.overrides)  # a wrong name or time is said now, not at night
    check_schedule(schedule)
    try:
        with everything(home, mlflow_port, prefect_port, schedule) as supervisor:
            output.addresses(home, mlflow_port, prefect_port)
            output.schedule(schedule)
            look_after(home, api_address(prefect_port), supervisor, steps.remark)
    except KeyboardInterrupt:
        steps.remark("servers and worker are stopped")


def show_environment() -> None:
    """Print the variables that make the prefect, mlflow and dvc commands use this project's state, for a shell."""
    from fewshot.project.tool_environment import environment, open_home
    from flows.cli import output

    output.variables(environment(open_home()))
