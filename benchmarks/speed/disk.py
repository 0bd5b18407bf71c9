"""The case that begins with files on disk: Omniglot is prepared once in a temporary folder, then we train from it.

python -m benchmarks.speed.disk FOLDER    # prepares FOLDER; the race calls this
"""

import json
import os
import shutil
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.cases import FROM_ARCHIVE, Case
from benchmarks.speed.ours import CPU, method_of, settings_of
from fewshot.data.batches import ImageBank
from fewshot.data.dataset import open_dataset
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.data.sources import omniglot, open_source
from fewshot.data.stages.fetch import fetch
from fewshot.data.stages.pack import pack
from fewshot.data.stages.split import split
from fewshot.project.paths import find_home
from fewshot.settings.datasets import declaration_of, definitions
from fewshot.system.device import Compute
from fewshot.system.download import MIRROR
from fewshot.training.outer_step import OuterStep

SPLIT = "background"
CHECKED_EPISODES = 20


class OursFromDisk:
    """What `fewshot train` does: open the pack with its digests checked, then draw and train, episode by episode.

    "ours-from-archive" first packs the archives and draws the frozen episodes, as `fewshot data prepare` does.
    """

    def __init__(self, case: Case, contestant: str, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.settings = settings_of(replace(case, tasks=1), contestant)
        self.from_archive = contestant == FROM_ARCHIVE

    def step(self) -> None:
        if not self.from_archive:
            return self._train(self.folder / "data", self.case.tasks)
        with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
            shutil.copytree(self.folder / "data" / "omniglot" / "raw", Path(fresh) / "omniglot" / "raw")
            make_dataset(Path(fresh))
            self._train(Path(fresh), self.case.tasks)

    def check(self) -> dict[str, float]:
        """Not comparable, since everybody draws episodes by chance; it shows that all of them learn."""
        self._train(self.folder / "data", CHECKED_EPISODES)
        return {"training accuracy": self.accuracy}

    def _train(self, data: Path, episodes: int) -> None:
        dataset = open_dataset(data, "omniglot", SPLIT)
        bank = ImageBank(dataset.pack.images, CPU)
        source = EpisodeSampler(dataset.class_table("train"), self.case.shape, self.settings.seed, "train")
        outer = OuterStep(
            method_of(self.case, self.settings), self.settings.train, Compute.pick("cpu", self.settings.train.precision)
        )
        rate = self.settings.train.learning_rate
        accuracies = [float(outer(bank.batch(source.sample(number)), rate).accuracy) for number in range(episodes)]
        self.accuracy = sum(accuracies) / len(accuracies)


def archives() -> Path | None:
    """The folder of Omniglot's published archives, if they are on this machine."""
    for folder in (find_home().data / "omniglot" / "raw", Path(os.environ.get(MIRROR) or os.devnull)):
        if all((folder / name).is_file() for name in omniglot.FILES):
            return folder
    return None


def prepare(folder: Path) -> None:
    """Make the dataset in folder/data, and unpack folder/images_background with the names of the training classes."""
    found = archives()
    if found is None:
        sys.exit("Omniglot's archives are not here")
    os.environ[MIRROR] = str(found)
    make_dataset(folder / "data")
    with zipfile.ZipFile(found / "images_background.zip") as members:
        members.extractall(folder)
    classes = open_dataset(folder / "data", "omniglot", SPLIT).class_names("train")
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")


def make_dataset(data: Path) -> None:
    """The stages of `fewshot data prepare omniglot`."""
    declaration = declaration_of("omniglot")
    source = open_source("omniglot", declaration, Path.cwd())
    fetch("omniglot", source, data)
    pack("omniglot", source, data)
    split("omniglot", definitions("omniglot"), data, declaration.episodes)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
