"""easyfsl from image files: its `TaskSampler` and a DataLoader, as in the notebook "Example of episodic training"."""

import json
import random
from pathlib import Path

import torch
from easyfsl.datasets import FewShotDataset
from easyfsl.methods import PrototypicalNetworks
from easyfsl.samplers import TaskSampler
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torchvision.transforms import Compose, Resize, ToTensor

from benchmarks.speed import plain
from benchmarks.speed.cases import Case
from benchmarks.speed.disk import CHECKED_EPISODES
from benchmarks.speed.inputs import make_weights


def _accept_data_source(self: Sampler, data_source: object = None) -> None:
    """easyfsl 1.5.0 calls `Sampler.__init__(data_source=None)`, an argument that torch 2.14 no longer takes."""


Sampler.__init__ = _accept_data_source


class OmniglotFiles(FewShotDataset):
    """Omniglot's PNG files as torchvision's dataset reads them; torchvision's own insists on the official archives."""

    def __init__(self, folder: Path) -> None:
        """`folder` is one that `disk.prepare` has filled; the classes are those that we train on."""
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        files = [sorted((folder / "images_background" / name).glob("*.png")) for name in classes]
        self.items = [(path, label) for label, of_class in enumerate(files) for path in of_class]
        self.transform = Compose([Resize(28), ToTensor()])

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        path, label = self.items[item]
        return self.transform(Image.open(path, mode="r").convert("L")), label

    def __len__(self) -> int:
        return len(self.items)

    def get_labels(self) -> list[int]:
        return [label for _, label in self.items]


class EasyFSLFromDisk:
    """From the files to the weights; the variant "workers-2" names the DataLoader's number of workers."""

    def __init__(self, case: Case, variant: str, folder: Path) -> None:
        self.case, self.folder, self.workers = case, folder, int(variant.removeprefix("workers-"))
        self.weights = make_weights(case)
        random.seed(0)

    def step(self) -> None:
        self._train(self.case.tasks)

    def check(self) -> dict[str, float]:
        """As ours: it shows that it learns."""
        self._train(CHECKED_EPISODES)
        return {"training accuracy": self.accuracy}

    def _train(self, episodes: int) -> None:
        dataset = OmniglotFiles(self.folder)
        sampler = TaskSampler(dataset, *self.case.shape, n_tasks=episodes)
        loader = DataLoader(
            dataset, batch_sampler=sampler, num_workers=self.workers, collate_fn=sampler.episodic_collate_fn
        )
        model = PrototypicalNetworks(plain.embedding(self.case, self.weights)).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loss_of, right = torch.nn.CrossEntropyLoss(), []
        for support, support_labels, query, query_labels, _ in loader:
            optimizer.zero_grad()
            model.process_support_set(support, support_labels)
            scores = model(query)
            loss = loss_of(scores, query_labels)
            loss.backward()
            optimizer.step()
            right.append(float((scores.argmax(1) == query_labels).float().mean()))
        self.accuracy = sum(right) / len(right)
