"""The commands about training: `fewshot train` and `fewshot presets`."""

from pathlib import Path
from typing import Annotated

import typer

from fewshot.cli import console
from fewshot.cli.commands import DEFAULT_PRESET, PresetArgument, SetOption, in_project
from fewshot.project.paths import Home


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    examples = "Examples: fewshot train | fewshot train glyphs-protonet-5w1s --set seed=1 --out my-model"
    app.command(epilog=examples)(in_project(train))
    app.command(epilog="Example: fewshot presets")(presets)


def train(
    home: Home,
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to train in; default: one below the state folder.")] = None,
) -> None:
    """Meta-train alone: no Prefect, no MLflow. Run it again to go on after an interruption."""
    from fewshot.settings.presets import load_settings

    chosen = load_settings(preset, settings)
    from fewshot.data.dataset import open_dataset
    from fewshot.training.identity import training_identity
    from fewshot.training.loop import train as meta_train

    dataset = open_dataset(home.data, chosen.data.dataset, chosen.data.split_scheme)
    folder = out or home.training(training_identity(chosen, dataset).name)
    console.print_training(meta_train(chosen, dataset, folder))


def presets() -> None:
    """List the presets with what each one trains, and its measured accuracy and time."""
    from fewshot.settings.presets import list_presets, preset_summary

    console.print_presets({name: preset_summary(name).replace("\n", " ") for name in list_presets()})
