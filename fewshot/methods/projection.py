"""A meta-trained linear projection of fixed embeddings under a nearest class mean.

The least that can be learned on a frozen encoder: one matrix, trained as a Prototypical Network (Snell et al. 2017) at
thousands of episodes a second. It begins as a projection that keeps angles, so that untrained it is a nearest mean.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, class_means
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.methods.protonet import squared_distance
from fewshot.settings.base import MethodSettings

START_SCALE = 10.0


class ProjectionSettings(MethodSettings):
    """A meta-trained projection of fixed embeddings."""

    dimensions: int = Field(256, ge=1, le=65_536, description="of the projected embedding")
    distance: Literal["cosine", "euclid"] = Field("cosine", description="between a query and the class means")


class Projection(EmbeddingMethod):
    """A linear layer without bias on embeddings of length 1, then a nearest class mean with a learned scale."""

    Settings: ClassVar = ProjectionSettings
    is_static = True

    def __init__(self, backbone: Backbone, settings: ProjectionSettings) -> None:
        super().__init__(backbone)
        self.distance = settings.distance
        self.layer = nn.Linear(backbone.out_features, settings.dimensions, bias=False)
        nn.init.orthogonal_(self.layer.weight)
        self.scale = LearnedFactor(START_SCALE)

    @classmethod
    def build(cls, context: MethodContext) -> "Projection":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        means = class_means(self._projected(support), shots)
        return {"means": normalize(means, dim=-1) if self.distance == "cosine" else means}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        projected, means = self._projected(query), adapted["means"]
        near = projected @ means.transpose(1, 2) if self.distance == "cosine" else -squared_distance(projected, means)
        logits: Tensor = self.scale(near)
        return logits

    def _projected(self, embedded: Float[Tensor, "task image feature"]) -> Float[Tensor, "task image dimension"]:
        projected: Tensor = self.layer(normalize(embedded, dim=-1))
        return normalize(projected, dim=-1) if self.distance == "cosine" else projected
