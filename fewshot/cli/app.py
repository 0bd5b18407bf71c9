"""The library's commands in one app. `flows.cli.app` adds those that need the pipeline."""

import typer

from fewshot.cli import data, machine, models, training, versions


def build_app() -> typer.Typer:
    """The commands that need no Prefect."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
    training.add_to(app)
    models.add_to(app)
    machine.add_to(app)
    versions.add_to(app)
    app.add_typer(data.build_group(), name="data")
    return app
