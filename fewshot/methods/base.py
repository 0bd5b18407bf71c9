"""The interface that every meta-learner implements. Training, evaluation and serving are written against it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import DamagedFileError, UsageError
from fewshot.settings.base import MethodSettings
from fewshot.system.files import write_bytes

BatchNorm = Literal["inductive", "transductive"]
"""Inductive: the answer to one query does not depend on the others. Transductive: they share batch statistics."""

IMAGES_PER_PASS = 2000
"""Images whose activations are kept for one backward pass: about 2 GB of a Conv-4."""

Support = Sequence[Float[Tensor, "_ channel height width"]]
"""The support set of one task: for each class a tensor of one or more images."""


class Choice(NamedTuple):
    """One of several ways in which a method could answer."""

    name: str
    accuracies: Float64[np.ndarray, "episode"]
    """On the same validation episodes for all of them."""


class LossAndAccuracy(NamedTuple):
    """The training loss of a batch of episodes and the accuracy on their queries, means over tasks."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


class MethodContext(NamedTuple):
    """Everything that a method may be built from."""

    backbone: Backbone
    settings: MethodSettings
    way: int
    """Classes of a training episode."""
    shot: int
    """Support images of each of them."""
    classes: int
    """Classes of the train split."""


@dataclass(frozen=True, eq=False)
class Head:
    """A learned task: the tensors from which its method answers queries."""

    method: str
    """Class name of the method that learned it."""
    way: int
    """Number of classes."""
    tensors: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write it as a safetensors file, atomically."""
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        write_bytes(path, save(tensors, metadata={"format": "1", "method": self.method, "way": str(self.way)}))

    @classmethod
    def load(cls, path: Path, device: str | torch.device = "cpu") -> "Head":
        """Read a saved head. DamagedFileError for a file that is missing, damaged or no head."""
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(metadata["method"], int(metadata["way"]), tensors)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedFileError(f"{path} is not a saved head ({error}); fit the classes again and save it") from None

    def tensors_for(self, method: "Method") -> dict[str, Tensor]:
        """The tensors, for the method that learned them; UsageError for another one."""
        if (asking := type(method).__name__) != self.method:
            raise UsageError(f"this head was learned by {self.method} and can't be used with {asking}; fit it again")
        return self.tensors


class Method(nn.Module, ABC):
    """A meta-learner. Its parameters are what all tasks share.

    `logits`, `fit` and `predict`, called in evaluation mode, read the module and change nothing in it: any number of
    threads may call them at once. The number format and the device are those of the caller's `Compute`.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    """The settings of this method."""
    batch_norm_modes: tuple[BatchNorm, ...]
    """The ways in which it can treat queries at test time; the first is the one that its heads are used with."""
    choices: tuple[Choice, ...] = ()
    """The ways that `choose` compared; they are not saved with the weights."""
    parts_are_independent = False
    """True if `loss`, too, changes nothing in the module, so that parts of a batch may be computed at once."""

    needs_classes = False
    """True if it learns to tell the training classes apart, so that it can't be built where there are none."""

    is_static = False
    """True if `loss` launches the same work on every batch of one shape, whatever `fraction_done`, and never waits for
    the device: then an accelerator may record it once. It is not inherited by a class with a `loss` of its own."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "loss" in vars(cls) and "is_static" not in vars(cls):
            cls.is_static = False

    @classmethod
    @abstractmethod
    def build(cls, context: MethodContext) -> "Method":
        """A new method with initial weights from torch's generator."""

    def tasks_at_once(self, images_of_a_task: int) -> int:
        """Number of tasks for one pass; the trainer adds up the gradients of several passes."""
        return max(1, IMAGES_PER_PASS // images_of_a_task)

    @abstractmethod
    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The training loss, differentiable in the parameters: the mean over the batch's tasks.

        `fraction_done` is the share of the training steps that is done, for methods with stages.
        """

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        """Recompute non-learned state (a buffer, saved with the weights) from `images` of training classes.

        Called in evaluation mode before each validation.
        """

    def choose(self, measure: Callable[["Method"], Float64[np.ndarray, "episode"]]) -> None:
        """Choose among ways to answer, for a method that has several; `measure` gives its accuracy on each episode.

        Called in evaluation mode before a validation, on the same validation episodes.
        """

    @property
    def has_statistics(self) -> bool:
        """True if `update_statistics` changes anything, so that images of training classes have to be there."""
        return type(self).update_statistics is not Method.update_statistics

    @abstractmethod
    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        """Learn each task from its support set and classify its queries (way and query flattened, in this order)."""

    @abstractmethod
    def fit(self, support: Support) -> Head:
        """Learn one task from its support set."""

    @abstractmethod
    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        """Logits of each query for the classes of a learned task."""


def backbone_of(method: Method) -> Backbone | None:
    """The network that a method embeds images with; None for one without."""
    return next((module for module in method.modules() if isinstance(module, Backbone)), None)


def labels_of(shots: Sequence[int], device: torch.device) -> Int64[Tensor, "image"]:
    """The class of each support image."""
    # Made on the device: a copy would make the host wait for it.
    return torch.cat([torch.full((shot,), label, device=device) for label, shot in enumerate(shots)])


def full_precision(tensor: Tensor) -> Tensor:
    """Half-precision values as float32; wider ones as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def loss_and_accuracy(logits: Float[Tensor, "task queries way"], batch: EpisodeBatch) -> LossAndAccuracy:
    """Cross-entropy and accuracy of the logits of a batch's queries."""
    labels = batch.labels
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
    return LossAndAccuracy(loss, (logits.argmax(-1) == labels).float().mean())
