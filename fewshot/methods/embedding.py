"""Methods that embed each image by itself and then work on embeddings only: a task never changes the network."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import (
    BatchNorm,
    Head,
    LossAndAccuracy,
    Method,
    MethodContext,
    Support,
    full_precision,
    labels_of,
    loss_and_accuracy,
)


class EmbeddingMethod(Method):
    """A method that is given by two functions of embeddings: `adapt` learns a task, `classify` answers its queries.

    At test time an image's embedding is the same in every episode, and evaluation computes it once.
    """

    batch_norm_modes = ("inductive",)
    embeds_maps = False
    """True if it wants the backbone's last feature maps instead of its vectors."""
    compares_in_full_precision = True
    """True if embeddings are compared in float32, whatever format the backbone computes in."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @classmethod
    def build(cls, context: MethodContext) -> "EmbeddingMethod":
        return cls(context.backbone)

    @abstractmethod
    def adapt(
        self, support: Float[Tensor, "task image *feature"], shots: Sequence[int]
    ) -> dict[str, Float[Tensor, "task ..."]]:
        """Learn tasks from embedded support sets.

        The first `shots[0]` images are of class 0, the next `shots[1]` of class 1, and so on.
        """

    @abstractmethod
    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query *feature"]
    ) -> Float[Tensor, "task query way"]:
        """Logits of embedded queries, given what `adapt` returned."""

    def embed(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image *feature"]:
        """Embeddings of images, in float32 or wider."""
        return full_precision(self.backbone.maps(images) if self.embeds_maps else self.backbone(images))

    def episode_logits(
        self, support: Float[Tensor, "task way shot *feature"], query: Float[Tensor, "task query *feature"]
    ) -> Float[Tensor, "task query way"]:
        """Logits of embedded queries, given the embedded support sets."""
        way, shot = support.shape[1:3]
        with self.comparing(support):
            return self.classify(self.adapt(support.flatten(1, 2), [shot] * way), query)

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm = "inductive") -> Float[Tensor, "task queries way"]:
        """As the interface says. Support and query go through the backbone in one pass, as in the code of Snell et al.

        In training, batch normalisation therefore sees both; at test time it uses running statistics.
        """
        shot = batch.support.shape[2]
        together = batch.together
        embedded = self.embed(together.flatten(0, 2)).unflatten(0, together.shape[:3])
        return self.episode_logits(embedded[:, :, :shot], embedded[:, :, shot:].flatten(1, 2))

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """Cross-entropy of the queries, and their accuracy."""
        return loss_and_accuracy(self.logits(batch), batch)

    def fit(self, support: Support) -> Head:
        embedded = self.embed(torch.cat(list(support)))[None]
        with self.comparing(embedded):
            adapted = self.adapt(embedded, [len(images) for images in support])
        return Head(type(self).__name__, len(support), adapted)

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        embedded = self.embed(query)[None]
        with self.comparing(embedded):
            return self.classify(head.tensors_for(self), embedded)[0]

    def comparing(self, embedded: Tensor) -> AbstractContextManager[object]:
        """The context in which embeddings are compared."""
        full = self.compares_in_full_precision
        return torch.autocast(embedded.device.type, enabled=False) if full else nullcontext()


def class_means(
    support: Float[Tensor, "task image *feature"], shots: Sequence[int]
) -> Float[Tensor, "task way *feature"]:
    """The mean embedding of each class."""
    return torch.stack([of_class.mean(1) for of_class in support.split(list(shots), dim=1)], dim=1)


def one_hot(shots: Sequence[int], like: Tensor) -> Float[Tensor, "image way"]:
    """1 where a support image belongs to a class, else 0, in the format of `like`."""
    return nn.functional.one_hot(labels_of(shots, like.device), len(shots)).to(like.dtype)
