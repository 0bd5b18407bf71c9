"""What a meta-learner must say for itself. Everything else (training, evaluation, serving) is written against this."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch

BatchNorm = Literal["inductive", "transductive"]
"""Inductive: the answer to one query does not depend on the others. Transductive: their statistics are shared."""

IMAGES_OF_A_PASS = 2000
"""Images whose activations are kept for one backward pass: about 2 GB of a Conv-4."""

Support = Sequence[Float[Tensor, "_ channel height width"]]
"""The support set of one task: for each class a tensor of one or more images."""


class LossAndAccuracy(NamedTuple):
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
    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The training loss, differentiable in the parameters: the mean over the batch's tasks.

        `progress` is the share of the training steps that is done, for methods that change on the way.
        """

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        """Take in whatever is needed for use besides the learned weights, from `images` of training classes.

        Called in evaluation mode before each validation; what it leaves is a buffer and saved with the weights.
        """

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
    """A method that embeds each image by itself and then only looks at embeddings: a task never changes the network.

    At test an image's embedding is therefore the same in every episode, and scoring computes it once. A method of this
    kind says how to learn a task from embeddings, and how to answer queries from what was learned.
    """

    batch_norm_modes = ("inductive",)
    embeds_maps = False
    """Whether it wants the backbone's last feature maps instead of its vectors."""
    compares_in_full_precision = True
    """Whether embeddings are compared in float32, whatever `precision` is."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def learn(
        self, support: Float[Tensor, "task image *feature"], shots: Sequence[int]
    ) -> dict[str, Float[Tensor, "task ..."]]:
        """What is kept of embedded support sets: the first `shots[0]` images are of class 0, the next of class 1 ..."""

    @abstractmethod
    def answer(
        self, learned: dict[str, Tensor], query: Float[Tensor, "task query *feature"]
    ) -> Float[Tensor, "task query way"]:
        """Logits of embedded queries."""

    def embed(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image *feature"]:
        """Embeddings of images, in float32 or wider."""
        return full_precision(self.backbone.maps(images) if self.embeds_maps else self.backbone(images))

    def compare(
        self, support: Float[Tensor, "task way shot *feature"], query: Float[Tensor, "task query *feature"]
    ) -> Float[Tensor, "task query way"]:
        """Logits of embedded queries, given the embedded support sets."""
        way, shot = support.shape[1:3]
        with self._full_precision(support):
            return self.answer(self.learn(support.flatten(1, 2), [shot] * way), query)

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm = "inductive") -> Float[Tensor, "task queries way"]:
        """As the contract says. Support and query go through the backbone in one pass, as in the code of Snell et al.

        In training, batch normalisation so sees both; at test it uses running statistics.
        """
        shot = batch.support.shape[2]
        together = batch.together
        embedded = self.embed(together.flatten(0, 2)).unflatten(0, together.shape[:3])
        return self.compare(embedded[:, :, :shot], embedded[:, :, shot:].flatten(1, 2))

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """Cross-entropy of the queries, and their accuracy."""
        return loss_and_accuracy(self.logits(batch), batch)

    def fit(self, support: Support) -> Head:
        embedded = self.embed(torch.cat(list(support)))[None]
        with self._full_precision(embedded):
            return Head(len(support), self.learn(embedded, [len(images) for images in support]))

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        embedded = self.embed(query)[None]
        with self._full_precision(embedded):
            return self.answer(head.tensors, embedded)[0]

    def _full_precision(self, tensor: Tensor) -> AbstractContextManager[object]:
        full = self.compares_in_full_precision
        return torch.autocast(tensor.device.type, enabled=False) if full else nullcontext()


def class_means(
    support: Float[Tensor, "task image *feature"], shots: Sequence[int]
) -> Float[Tensor, "task way *feature"]:
    """The mean embedding of each class."""
    return torch.stack([of_class.mean(1) for of_class in support.split(list(shots), dim=1)], dim=1)


def labels_of(shots: Sequence[int], device: torch.device) -> Int64[Tensor, "image"]:
    """The class of each support image."""
    return torch.arange(len(shots)).repeat_interleave(torch.tensor(shots)).to(device)


def one_hot(shots: Sequence[int], like: Tensor) -> Float[Tensor, "image way"]:
    """1 where a support image belongs to a class, else 0, in the format of `like`."""
    return nn.functional.one_hot(labels_of(shots, like.device), len(shots)).to(like.dtype)


def full_precision(tensor: Tensor) -> Tensor:
    """Half-precision values as float32; wider ones as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def loss_and_accuracy(logits: Float[Tensor, "task queries way"], batch: EpisodeBatch) -> LossAndAccuracy:
    """Cross-entropy and accuracy of the logits of a batch's queries."""
    labels = batch.labels
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
    return LossAndAccuracy(loss, (logits.argmax(-1) == labels).float().mean())
