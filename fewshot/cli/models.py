"""The commands that use models: `fewshot evaluate`, `fewshot classify` and `fewshot leaderboard`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fewshot.cli import console
from fewshot.cli.commands import DeviceOption, ModelArgument, ShapeOption, TrustOption, in_project
from fewshot.project.paths import Home

if TYPE_CHECKING:
    from fewshot.model import Model
    from fewshot.settings.episode_shape import EpisodeShape
    from fewshot.settings.schema import EvaluateSettings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(
        epilog="Examples: fewshot evaluate models:/glyphs-protonet@champion | "
        "fewshot evaluate my-model/model --dataset digits --shape 5w1s --shape 10w5s --episodes 200",
    )(in_project(evaluate))
    app.command(
        epilog="Examples: fewshot classify models:/glyphs-protonet@champion my-classes query.png | "
        "fewshot classify my-model/model my-classes folder-of-images --ink dark",
    )(in_project(classify))
    examples = "Examples: fewshot leaderboard omniglot | fewshot leaderboard digits --shape 5w1s --episodes 200"
    app.command(epilog=examples)(in_project(leaderboard))


def evaluate(
    home: Home,
    model: ModelArgument,
    dataset: Annotated[str, typer.Option(help="DATASET or DATASET/SPLIT; default: the data it was trained on.")] = "",
    shape: ShapeOption = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Episodes of each shape.")] = None,
    device: DeviceOption = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the numbers; default: one in the state folder.")] = None,
    trust_code: TrustOption = False,
) -> None:
    """Measure a model on fixed test episodes and print each accuracy with its 95 % interval."""
    from fewshot.tracking.artifact import model_folder
    from fewshot.tracking.store import Store

    folder = model_folder(Store.open(home), model)
    from fewshot.data.dataset import open_dataset
    from fewshot.evaluation.evaluate import evaluate as measure
    from fewshot.model import load_model

    loaded = load_model(folder, device, trust_code or _is_own(home, model))
    data, options = loaded.description.data, _evaluation_options(loaded, shape, episodes)
    name, _, scheme = (dataset or f"{data.dataset}/{data.split_scheme}").partition("/")
    target = out or home.evaluation(f"alone-{loaded.description.weights_sha256[:32]}")
    console.print_evaluation(measure(loaded, open_dataset(home.data, name, scheme), options, target))


def classify(
    home: Home,
    model: ModelArgument,
    classes: Annotated[Path, typer.Argument(help="Folder with a folder of one or more images for each class.")],
    images: Annotated[list[Path], typer.Argument(help="Images to classify, or folders of them.")],
    ink: Annotated[
        Literal["auto", "dark", "bright"],
        typer.Option(help="For letters: dark ink, bright ink, or auto (by the border)."),
    ] = "auto",
    device: DeviceOption = "auto",
    trust_code: TrustOption = False,
) -> None:
    """Learn your own classes from a few images of each, then say for other images which class they show."""
    from fewshot.errors import UsageError
    from fewshot.tracking.artifact import model_folder
    from fewshot.tracking.store import Store

    folder = model_folder(Store.open(home), model)
    import numpy as np

    from fewshot.classifier import FewShotClassifier
    from fewshot.data.image_files import image_files, read_images, read_support
    from fewshot.model import IMAGES_AT_ONCE

    classifier = FewShotClassifier.load(folder, device, trust_code or _is_own(home, model))
    prepare = partial(classifier.model.prepare, ink=ink)
    support = read_support(classes, prepare)
    classifier.fit(list(support.values()), list(support))
    files = [file for place in images for file in image_files(place)]
    if not files:
        raise UsageError(f"no image in {', '.join(map(str, images))}; give images or folders of them")
    parts = [files[first : first + IMAGES_AT_ONCE] for first in range(0, len(files), IMAGES_AT_ONCE)]
    read = (read_images(part, prepare) for part in parts)
    shares = np.concatenate([classifier.predict_proba(images) for images in read])
    console.print_classes(
        (file, classifier.class_names[of_file.argmax()], float(of_file.max()))
        for file, of_file in zip(files, shares, strict=True)
    )


def leaderboard(
    home: Home,
    dataset: Annotated[str, typer.Argument(help="DATASET or DATASET/SPLIT, prepared on this machine.")] = "glyphs",
    shape: ShapeOption = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes of each shape.")] = 600,
    device: DeviceOption = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the charts; default: one in the state folder.")] = None,
) -> None:
    """Rank all registered and trained models on the same fixed test episodes, by paired differences.

    Models between which no difference shows at the 95 % level share a rank.
    """
    from fewshot.data.dataset import open_dataset

    name, _, scheme = dataset.partition("/")
    opened = open_dataset(home.data, name, scheme)
    from fewshot.evaluation.figures import accuracies
    from fewshot.reporting.leaderboard import compare, find_models, log_to_mlflow
    from fewshot.system.files import write_bytes
    from fewshot.tracking.store import Store

    shapes = [_parsed(text) for text in shape or ("5w1s", "5w5s")]
    store = Store.open(home)
    models = find_models(store, home.trainings, home.project)
    boards, charts = compare(home.evaluations, models, opened, shapes, episodes, device), {}
    for task, entries in boards.items():
        labels = [f"{entry.name} ({entry.method})" for entry in entries]
        charts[task] = accuracies(labels, [entry.score for entry in entries], f"{name} {task}")
        file = (out or home.state / "leaderboard") / f"{name}-{task}.png"
        write_bytes(file, charts[task])
        console.print_leaderboard(f"{name} {task}", entries, file)
    console.print_logged(log_to_mlflow(store, name, boards, charts))


def _is_own(home: Home, model: str) -> bool:
    """True for a model of the registry, whose files are compared, or of the state folder: it was trained here."""
    return model.startswith("models:/") or Path(model).resolve().is_relative_to(home.state.resolve())


def _evaluation_options(model: "Model", shapes: list[str] | None, episodes: int | None) -> "EvaluateSettings":
    """The evaluation that the model was trained with, except for what is asked for here."""
    from fewshot.settings.schema import settings_from

    values = model.description.settings_values
    asked = {"shapes": shapes or None, "episodes": episodes}
    changed = values["evaluate"] | {name: value for name, value in asked.items() if value is not None}
    return settings_from(values | {"evaluate": changed}).evaluate


def _parsed(text: str) -> "EpisodeShape":
    from fewshot.errors import UsageError
    from fewshot.settings.episode_shape import EpisodeShape

    try:
        return EpisodeShape.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
