"""The commands about runs of the pipeline: `fewshot run`, `fewshot retrain` and `fewshot why`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli.commands import DEFAULT_PRESET, PresetArgument, SetOption, in_project
from fewshot.project.paths import Home

if TYPE_CHECKING:
    from fewshot.settings.schema import Settings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        epilog="Examples: fewshot run | fewshot run glyphs-protonet-5w1s --set train.steps=2000 --set seed=1 | "
        "fewshot run --set method.name=maml --set train.learning_rate=0.0005",
    )(in_project(run))
    app.command(
        epilog="Examples: fewshot retrain | fewshot retrain glyphs-protonet-5w1s --set gate.margin=0.002 | "
        "FEWSHOT_WEBHOOK=https://hooks.example/secret fewshot retrain",
    )(in_project(retrain))
    app.command(
        epilog="Examples: fewshot why | fewshot why train | fewshot why evaluate glyphs-protonet-5w1s --set seed=1",
    )(in_project(why))


def run(home: Home, preset: PresetArgument = DEFAULT_PRESET, settings: SetOption = None) -> None:
    """Run the pipeline: prepare data, compute features, train, evaluate, register. What is up to date is kept."""
    from flows.cli import output

    def load() -> Any:
        from flows.pipeline import pipeline

        return pipeline

    output.results(_run_flow(home, preset, settings or [], load))


def retrain(home: Home, preset: PresetArgument = DEFAULT_PRESET, settings: SetOption = None) -> None:
    """Run the pipeline if anything changed, and promote the new version only if it is shown to beat the champion."""
    from flows.cli import output

    def load() -> Any:
        from flows.retrain import retrain

        return retrain

    output.outcome(_run_flow(home, preset, settings or [], load))


def why(
    home: Home,
    step: Annotated[str, typer.Argument(help="prepare, train, evaluate or register; all: each of them.")] = "all",
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
) -> None:
    """Say what makes each step stale since the last run of a preset, or that it is up to date."""
    from flows.cli import output
    from flows.why import why as explain

    output.verdicts(explain(home, preset, settings, None if step == "all" else step))


def _run_flow(home: "Home", preset: str, overrides: list[str], load: Callable[[], Any]) -> dict[str, Any]:
    """Run the flow that `load` imports, with a Prefect server that starts meanwhile."""
    from fewshot.settings.secrets import take_secrets
    from flows import steps
    from flows.cli import output
    from flows.servers.ephemeral_prefect import prefect_api

    steps.show(output.Reports())
    overrides = take_secrets(overrides)
    if not (home.prefect / "prefect.db").exists():
        # A wrong setting would end the server while it makes its database.
        _chosen(preset, overrides)
    with steps.waiting("starting Prefect"), prefect_api(home) as ready:
        chosen = _chosen(preset, overrides)
        flow = load()
        ready()
    output.heading(chosen.run_name, preset)
    found: dict[str, Any] = flow(preset, overrides)
    return found


def _chosen(preset: str, overrides: list[str]) -> "Settings":
    """The settings, for a device that is there. Imports torch (3 s), beside which the method's settings stand."""
    from fewshot.settings.presets import load_settings
    from fewshot.system.device import pick_device

    settings = load_settings(preset, overrides)
    pick_device(settings.device)
    return settings
