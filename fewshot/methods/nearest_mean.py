"""Nearest class mean on fixed embeddings: the head of choice for a pretrained encoder and very few images.

Snell et al. 2017 without training; Wang et al. 2019 ("SimpleShot") show what centring and normalising are worth. On
frozen features it has nothing to learn: train.steps=0.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, class_means
from fewshot.methods.protonet import squared_distance
from fewshot.settings.base import MethodSettings


class NearestMeanSettings(MethodSettings):
    """Nearest class mean on fixed embeddings."""

    distance: Literal["cosine", "euclid"] = Field("cosine", description="cosine, or squared Euclidean distance")
    centre: Literal["none", "train", "support"] = Field(
        "none", description="subtract the mean embedding of training images, or of the task's class means"
    )
    scale: float = Field(20.0, gt=0, description="factor from cosines, or distances, to logits")


class NearestMean(EmbeddingMethod):
    """A class is the mean of its support embeddings; a query belongs to the nearest mean.

    With cosines, embeddings have length 1 before and after averaging. The centre of training images is a buffer that
    is saved with the weights; without training images it is zero.
    """

    Settings: ClassVar = NearestMeanSettings
    is_static = True

    def __init__(self, backbone: Backbone, settings: NearestMeanSettings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(backbone.out_features))

    @classmethod
    def build(cls, context: MethodContext) -> "NearestMean":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    @property
    def has_statistics(self) -> bool:
        return self.settings.centre == "train"

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        if self.settings.centre == "train":
            self.centre.copy_(self.embed(images).mean(0))

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        if self.settings.centre == "support":
            centre = class_means(support, shots).mean(1, keepdim=True)
        else:
            centre = self.centre.to(support.dtype).expand(len(support), 1, -1)
        means = class_means(self._treated(support, centre), shots)
        return {"means": self._of_length_one(means), "centre": centre}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        treated, means = self._treated(query, adapted["centre"]), adapted["means"]
        if self.settings.distance == "euclid":
            return -self.settings.scale * squared_distance(treated, means)
        return self.settings.scale * treated @ means.transpose(1, 2)

    def _treated(
        self, embedded: Float[Tensor, "task image feature"], centre: Float[Tensor, "task 1 feature"]
    ) -> Float[Tensor, "task image feature"]:
        return self._of_length_one(embedded - centre)

    def _of_length_one(self, embedded: Float[Tensor, "task image feature"]) -> Float[Tensor, "task image feature"]:
        return normalize(embedded, dim=-1) if self.settings.distance == "cosine" else embedded
