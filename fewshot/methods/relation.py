"""Relation Networks (Sung et al. 2018, "Learning to compare: relation network for few-shot learning").

A small network looks at a query and a class and says whether they belong together; it is trained with the embedding.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, mse_loss, one_hot

from fewshot.backbones.base import Backbone
from fewshot.backbones.fast.grouped_layers import BatchNorm
from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import LossAndAccuracy, MethodContext, full_precision
from fewshot.methods.embedding import EmbeddingMethod
from fewshot.settings.base import MethodSettings


class RelationSettings(MethodSettings):
    """Relation Networks (Sung et al. 2018)."""

    hidden: int = Field(8, ge=1, description="units of the layer before the score")


class Relation(EmbeddingMethod):
    """A relation score between 0 and 1 for each pair of query and class (equations 1 and 2; figures 2 and 3).

    Scores are learned by their squared distance from 1 for the right class and 0 for the others (equation 2). The
    logits are the inputs of the last sigmoid, so that the most probable class is the one with the largest score. Batch
    normalisation uses running statistics at test time, so that a query's answer never depends on the others'; the
    authors' code uses those of all pairs.

    The maps of a class are summed (section 3.2). A class with another number of images than in training would so have
    maps of another size than the network has ever seen; its sum is scaled to the number of training.
    """

    is_static = True

    Settings: ClassVar = RelationSettings
    embeds_maps = True
    compares_in_full_precision = False

    def __init__(self, backbone: Backbone, shot: int, settings: RelationSettings) -> None:
        """`shot` is that of the training episodes."""
        super().__init__(backbone)
        self.shot = shot
        channels, height, width = backbone.map_shape
        self.compare_maps = nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(BatchNorm(channels) for _ in range(2))
        for _ in range(2):
            height, width = _halved(height, width)
        self.hidden = nn.Linear(channels * height * width, settings.hidden)
        self.score = nn.Linear(settings.hidden, 1)

    @classmethod
    def build(cls, context: MethodContext) -> "Relation":
        return cls(context.backbone, context.shot, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image channel h w"], shots: Sequence[int]) -> dict[str, Tensor]:
        classes = zip(support.split(list(shots), dim=1), shots, strict=True)
        return {"maps": torch.stack([maps.sum(1) * (self.shot / shot) for maps, shot in classes], dim=1)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query channel h w"]
    ) -> Float[Tensor, "task query way"]:
        # The first convolution of two concatenated maps is the sum of a convolution of each: one for each class and
        # one for each query, instead of one for each pair.
        of_class, of_query = (
            conv2d(maps.flatten(0, 1), weight, padding=1).unflatten(0, maps.shape[:2])
            for maps, weight in zip((adapted["maps"], query), self.compare_maps.weight.chunk(2, dim=1), strict=True)
        )
        pairs = (of_query[:, :, None] + of_class[:, None]).flatten(0, 2)
        pairs = _pool(self.norms[0](pairs)).relu()
        pairs = _pool(self.norms[1](self.convolution(pairs))).relu()
        scores: Tensor = self.score(self.hidden(pairs.flatten(1)).relu())
        return full_precision(scores).reshape(query.shape[0], query.shape[1], -1)

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The mean squared error of the scores, and the queries' accuracy."""
        logits, labels = self.logits(batch), batch.labels
        wanted = one_hot(labels, logits.shape[-1]).to(logits.dtype)
        return LossAndAccuracy(mse_loss(logits.sigmoid(), wanted), (logits.argmax(-1) == labels).float().mean())


def _halved(height: int, width: int) -> tuple[int, int]:
    """The size after `_pool`."""
    return (height // 2, width // 2) if min(height, width) > 1 else (height, width)


def _pool(maps: Float[Tensor, "pair channel h w"]) -> Float[Tensor, "pair channel h2 w2"]:
    """Max-pooling by 2; a map of one row or column stays as it is."""
    return max_pool2d(maps, 2) if min(maps.shape[2:]) > 1 else maps
