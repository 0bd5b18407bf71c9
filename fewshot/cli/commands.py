"""The building blocks of the commands: arguments that several of them take, and the project that they work in."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Concatenate, ParamSpec

import typer

from fewshot.project.paths import Home

P = ParamSpec("P")

DEFAULT_PRESET = "glyphs-protonet-5w1s"
"""As fewshot.settings.presets has it; repeated here so that `--help` need not import it."""

PresetArgument = Annotated[str, typer.Argument(metavar="PRESET", help="A preset; `fewshot presets` lists them.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SETTING=VALUE", help="Change a setting; may be given repeatedly.")
]
ModelArgument = Annotated[str, typer.Argument(help="A model folder, or models:/NAME@ALIAS or models:/NAME/VERSION.")]
NameArgument = Annotated[str, typer.Argument(help="Name of a registered model.")]
ReferenceArgument = Annotated[str, typer.Argument(help="NAME (its champion), NAME@ALIAS or NAME/VERSION.")]
ShapeOption = Annotated[list[str] | None, typer.Option(help="Episodes such as 5w1s; may be given repeatedly.")]
TrustOption = Annotated[
    bool, typer.Option("--trust-code", help="Run code from outside fewshot that a model folder names.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:1.")]


def in_project(command: "Callable[Concatenate[Home, P], None]") -> "Callable[P, None]":
    """The command without its first argument, which becomes the Home of the project around the working folder.

    The one place where the command line prepares the environment: before the command imports prefect or mlflow.
    """

    @wraps(command)
    def with_home(*arguments: P.args, **options: P.kwargs) -> None:
        from fewshot.project.tool_environment import open_home

        command(open_home(), *arguments, **options)

    # What typer reads: the home is not an argument of the command line.
    whole = inspect.signature(command)
    with_home.__dict__["__signature__"] = whole.replace(parameters=list(whole.parameters.values())[1:])
    return with_home
