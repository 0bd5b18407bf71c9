"""What a meta-learner must say for itself. Everything else (training, evaluation, serving) is written against this."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewshot.data.images import EpisodeBatch

BatchNorm = Literal["inductive", "transductive"]
"""Inductive: the answer to one query does not depend on the others. Transductive: their statistics are shared."""

IMAGES_OF_A_PASS = 2000
"""Images whose activations are kept for one backward pass: about 2 GB of a Conv-4."""

Support = Sequence[Float[Tensor, "_ channel height width"]]
"""The support set of one task: for each class a tensor of one or more images."""


class Outcome(NamedTuple):
    """What one batch of episodes taught, averaged over its tasks."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


@dataclass(frozen=True)
class Head:
    """A task that was learned: plain tensors, to be saved, moved or compared. Only its method can read them."""

    way: int
    tensors: dict[str, Tensor]


class Method(nn.Module, ABC):
    """A meta-learner: its parameters are what all tasks share."""

    batch_norm_modes: tuple[BatchNorm, ...]
    """The ways it can treat queries at test; the first is the one that its heads are used with."""
    precision: torch.dtype = torch.float32
    """The number format of its convolutions and matrix products, the same in training and in use."""
    parts_are_independent = False
    """Whether a pass over some tasks leaves nothing behind that another pass reads, so that they may run at once."""

    def autocast(self) -> torch.autocast:
        """The context that its methods are called in, so that they compute in `precision`."""
        kind = next(self.parameters()).device.type
        return torch.autocast(kind, self.precision, enabled=self.precision != torch.float32)

    def tasks_at_once(self, images_of_a_task: int) -> int:
        """How many tasks to learn or answer in one pass; the trainer adds up the gradients of such parts."""
        return max(1, IMAGES_OF_A_PASS // images_of_a_task)

    @abstractmethod
    def loss(self, batch: EpisodeBatch) -> Outcome:
        """The training loss, differentiable in the parameters: the mean over the batch's tasks."""

    @abstractmethod
    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        """Learn each task from its support set and answer its queries (way and query flattened, in this order)."""

    @abstractmethod
    def fit(self, support: Support) -> Head:
        """Learn one task from its support set."""

    @abstractmethod
    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        """Logits of each query for the classes of a learned task."""


class EmbeddingMethod(Method):
    """A method that embeds each image by itself and then only compares embeddings: a task never changes the network.

    At test an image's embedding is therefore the same in every episode, and scoring computes it once.
    """

    batch_norm_modes = ("inductive",)

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def embed(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image *feature"]:
        """Embeddings of images, in float32."""
        return full_precision(self.backbone(images))

    @abstractmethod
    def compare(
        self, support: Float[Tensor, "task way shot *feature"], query: Float[Tensor, "task queries *feature"]
    ) -> Float[Tensor, "task queries way"]:
        """Logits of embedded queries, given the embedded support sets."""

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm = "inductive") -> Float[Tensor, "task queries way"]:
        """As the contract says. Support and query go through the backbone in one pass, as in the code of Snell et al.

        In training, batch normalisation so sees both; at test it uses running statistics.
        """
        shot = batch.support.shape[2]
        together = torch.cat([batch.support, batch.query], dim=2)  # task way shot+query channel height width
        embedded = self.embed(together.flatten(0, 2)).unflatten(0, together.shape[:3])
        return self.compare(embedded[:, :, :shot], embedded[:, :, shot:].flatten(1, 2))

    def loss(self, batch: EpisodeBatch) -> Outcome:
        """Cross-entropy of the queries, and their accuracy."""
        return outcome(self.logits(batch), batch)


def full_precision(tensor: Tensor) -> Tensor:
    """Half-precision values as float32; wider ones as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def outcome(logits: Float[Tensor, "task queries way"], batch: EpisodeBatch) -> Outcome:
    """Cross-entropy and accuracy of the logits of a batch's queries."""
    labels = batch.labels
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
    return Outcome(loss, (logits.argmax(-1) == labels).float().mean())
