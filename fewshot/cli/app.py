"""The library's commands: parse, call, print. `flows/cli.py` mounts them and adds those that need the pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fewshot.cli.console import make_console, make_table, print_findings
from fewshot.cli.data import data

if TYPE_CHECKING:
    from fewshot.model import Model
    from fewshot.settings.episode_shape import EpisodeShape
    from fewshot.settings.schema import EvaluateSettings

PresetArgument = Annotated[str, typer.Argument(metavar="PRESET", help="A preset; `fewshot presets` lists them.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SETTING=VALUE", help="Change a setting; may be given repeatedly.")
]
DEFAULT_PRESET = "glyphs-protonet-5w1s"
"""As fewshot.settings.schema has it; repeated here so that `--help` need not import it."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data, name="data")


@app.command(epilog="Examples: fewshot train | fewshot train glyphs-protonet-5w1s --set seed=1 --out my-model")
def train(
    preset: PresetArgument = DEFAULT_PRESET,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to train in; default: one below the state folder.")] = None,
) -> None:
    """Meta-train alone: no Prefect, no MLflow. Run it again to go on after an interruption."""
    from fewshot.settings.presets import load_settings

    chosen = load_settings(preset, settings)
    from fewshot.data.dataset import open_dataset
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.training.identity import training_identity
    from fewshot.training.loop import train as meta_train

    home = find_home()
    prepare_environment(home)  # published weights, too, are kept in the state folder
    dataset = open_dataset(home.data, chosen.data.dataset, chosen.data.split_scheme)
    result = meta_train(chosen, dataset, out or home.training(training_identity(chosen, dataset).name))
    accuracy, interval = 100 * result.best_val_accuracy, 100 * result.best_val_ci95
    console = make_console()
    console.print(
        f"meta-validation {accuracy:.2f} ± {interval:.2f} % at step {result.best_step} of {result.steps}, "
        f"{result.seconds:.1f} s on {result.device} in {result.precision}"
    )
    console.print(f"model {result.model}\nnext: fewshot evaluate {result.model}", markup=False)


@app.command(
    epilog="Examples: fewshot evaluate models:/glyphs-protonet@champion | "
    "fewshot evaluate my-model/model --dataset digits --shape 5w1s --shape 10w5s --episodes 200"
)
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, or models:/NAME@ALIAS or models:/NAME/VERSION.")],
    dataset: Annotated[str, typer.Option(help="DATASET or DATASET/SPLIT; default: the data it was trained on.")] = "",
    shape: Annotated[list[str] | None, typer.Option(help="Episodes such as 5w1s; may be given repeatedly.")] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Episodes of each shape.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:1.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the numbers; default: one in the state folder.")] = None,
) -> None:
    """Measure a model on frozen test episodes and print each accuracy with its 95 % interval."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.tracking.store import Store
    from fewshot.tracking.versions import model_folder

    home = find_home()
    prepare_environment(home)
    folder = model_folder(Store.open(home), model)
    from fewshot.data.dataset import open_dataset
    from fewshot.evaluation.evaluate import evaluate as measure
    from fewshot.model import load_model

    loaded = load_model(folder, device)
    data, options = loaded.description.data, _evaluation_options(loaded, shape, episodes)
    name, _, scheme = (dataset or f"{data.dataset}/{data.split_scheme}").partition("/")
    target = out or home.evaluation(f"alone-{loaded.description.weights_sha256[:32]}")
    evaluation = measure(loaded, open_dataset(home.data, name, scheme), options, target)
    console = make_console()
    for key, result in evaluation.results.items():
        console.print(f"{key:36} {result}  ({result.episodes} episodes)")
    console.print(f"written to {evaluation.file}")


@app.command(
    epilog="Examples: fewshot classify models:/glyphs-protonet@champion my-classes query.png | "
    "fewshot classify my-model/model my-classes folder-of-images --ink dark"
)
def classify(
    model: Annotated[str, typer.Argument(help="A model folder, or models:/NAME@ALIAS or models:/NAME/VERSION.")],
    classes: Annotated[Path, typer.Argument(help="Folder with a folder of one or more images for each class.")],
    images: Annotated[list[Path], typer.Argument(help="Images to classify, or folders of them.")],
    ink: Annotated[
        Literal["auto", "dark", "bright"],
        typer.Option(help="For letters: dark ink, bright ink, or auto (by the border)."),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:1.")] = "auto",
) -> None:
    """Learn your own classes from a few images of each, then say for other images which class they show."""
    from fewshot.errors import UsageError
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.tracking.store import Store
    from fewshot.tracking.versions import model_folder

    home = find_home()
    prepare_environment(home)
    folder = model_folder(Store.open(home), model)
    import numpy as np

    from fewshot.classifier import FewShotClassifier
    from fewshot.data.image_files import image_files, read_image, read_support

    classifier = FewShotClassifier.load(folder, device)
    support = read_support(classes, classifier.image_shape, ink)
    classifier.fit(list(support.values()), list(support))
    files = [file for place in images for file in image_files(place)]
    if not files:
        raise UsageError(f"no image in {', '.join(map(str, images))}; give images or folders of them")
    shares = classifier.predict_proba(np.stack([read_image(file, classifier.image_shape, ink) for file in files]))
    table = make_table("image", "class", "probability")
    for file, of_file in zip(files, shares, strict=True):
        table.add_row(str(file), classifier.class_names[of_file.argmax()], f"{100 * of_file.max():.1f} %")
    make_console().print(table)


@app.command(epilog="Examples: fewshot leaderboard omniglot | fewshot leaderboard digits --shape 5w1s --episodes 200")
def leaderboard(
    dataset: Annotated[str, typer.Argument(help="DATASET or DATASET/SPLIT, prepared on this machine.")] = "glyphs",
    shape: Annotated[list[str] | None, typer.Option(help="Episodes such as 5w1s; may be given repeatedly.")] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes of each shape.")] = 600,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:1.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the charts; default: one in the state folder.")] = None,
) -> None:
    """Rank all registered and trained models on the same frozen test episodes, by paired differences.

    Models between which no difference shows at the 95 % level share a rank.
    """
    from fewshot.data.dataset import open_dataset
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.settings.episode_shape import EpisodeShape

    home = find_home()
    prepare_environment(home)
    name, _, split = dataset.partition("/")
    opened = open_dataset(home.data, name, split)
    from fewshot.evaluation.figures import accuracies
    from fewshot.reporting.leaderboard import compare, find_models, log_to_mlflow
    from fewshot.system.files import write_bytes
    from fewshot.tracking.store import Store

    shapes = [_parsed(EpisodeShape, text) for text in shape or ("5w1s", "5w5s")]
    store = Store.open(home)
    models = find_models(store, home.trainings, home.project)
    boards = compare(home.evaluations, models, opened, shapes, episodes, device)
    console, charts = make_console(), {}
    for task, entries in boards.items():
        table = make_table("rank", "model", "method", f"{name} {task}", "behind the best")
        for entry in entries:
            behind = "" if entry.behind.accuracy == 0 else str(entry.behind)
            table.add_row(str(entry.rank), entry.name, entry.method, str(entry.score), behind)
        console.print(table)
        labels = [f"{entry.name} ({entry.method})" for entry in entries]
        charts[task] = accuracies(labels, [entry.score for entry in entries], f"{name} {task}")
        file = (out or home.state / "leaderboard") / f"{name}-{task}.png"
        write_bytes(file, charts[task])
        console.print(f"chart {file}", markup=False)
    run_id = log_to_mlflow(store, name, boards, charts)
    console.print(f"logged as run {run_id} of the MLflow experiment leaderboard; see it: fewshot ui", markup=False)


@app.command(epilog="Example: fewshot presets")
def presets() -> None:
    """List the presets with what each one trains, and its measured accuracy and time."""
    from fewshot.settings.presets import preset_names, preset_summary

    table = make_table("preset", "what it is")
    for name in preset_names():
        table.add_row(name, preset_summary(name).replace("\n", " "))
    console = make_console()
    console.print(table)
    console.print("next: fewshot run PRESET", markup=False)


@app.command(epilog="Example: fewshot doctor")
def doctor() -> None:
    """Check this machine and installation; exit status 1 if something is broken."""
    from fewshot.project.doctor import examine

    if not print_findings(examine()):
        raise typer.Exit(1)


def _evaluation_options(model: "Model", shapes: list[str] | None, episodes: int | None) -> "EvaluateSettings":
    """The evaluation that the model was trained with, but for what is asked for here."""
    from fewshot.settings.schema import settings_from

    values = model.description.settings_values
    asked = {"shapes": shapes or None, "episodes": episodes}
    changed = values["evaluate"] | {name: value for name, value in asked.items() if value is not None}
    return settings_from(values | {"evaluate": changed}).evaluate


def _parsed(kind: "type[EpisodeShape]", text: str) -> "EpisodeShape":
    from fewshot.errors import UsageError

    try:
        return kind.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
