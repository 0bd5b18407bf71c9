"""Draw docs/episode.png: a 5-way 1-shot episode of letters that a model never saw in training, and its answers.

python benchmarks/picture.py models:/glyphs-protonet@champion
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fewshot.classifier import FewShotClassifier
from fewshot.data.dataset import open_dataset
from fewshot.project.tool_environment import open_home
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.store import Store

SHOWN = 9
"""Queries of each class."""


def draw(model: str, target: Path) -> None:
    """The first frozen test episode of glyphs; a query that was answered wrongly is red and says with what."""
    home = open_home()
    classifier = FewShotClassifier.load(model_folder(Store.open(home), model), device="cpu")
    dataset = open_dataset(home.data, "glyphs", "scripts")
    episode = dataset.fixed_episodes("test", EpisodeShape(5, 1, 15), 1)
    images = np.array(dataset.pack.images[episode.rows[0]])
    names = [dataset.class_names("test")[number].replace("/", "\n", 1) for number in episode.classes[0]]
    classifier.fit(list(images[:, :1]), names)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots(5, SHOWN + 2, width_ratios=[2.2, *[1] * (SHOWN + 1)])
    for row, (name, of_class) in enumerate(zip(names, images, strict=True)):
        answers = classifier.predict(of_class[1 : SHOWN + 1])
        axes[row, 0].text(1, 0.5, name, ha="right", va="center", fontsize=8)
        axes[row, 0].axis("off")
        for place, image in enumerate(of_class[: SHOWN + 1]):
            wrong = place > 0 and answers[place - 1] != name
            _show(axes[row, place + 1], image[0], "tab:blue" if not place else "tab:red" if wrong else "tab:green")
    axes[0, 1].set_title("shown once", fontsize=8, color="tab:blue")
    axes[0, SHOWN // 2 + 2].set_title("asked: right\nis green", fontsize=8, color="tab:green")
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=90)
    print(f"wrote {target}")


def _show(axes: object, image: np.ndarray, colour: str) -> None:
    axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)  # type: ignore[attr-defined]
    axes.set(xticks=[], yticks=[])  # type: ignore[attr-defined]
    for side in axes.spines.values():  # type: ignore[attr-defined]
        side.set(color=colour, linewidth=2)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "models:/glyphs-protonet@champion", Path("docs/episode.png"))
