"""SimpleShot (Wang, Chao, Weinberger & van der Maaten 2019): no meta-learning, only well-treated nearest neighbours."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import class_means
from fewshot.methods.supervised import Supervised
from fewshot.settings.base import MethodSettings


class SimpleShotSettings(MethodSettings):
    """Nearest centroid after centring and normalising (Wang et al. 2019)."""

    transform: Literal["CL2N", "L2N", "UN"] = Field("CL2N", description="centred and normalised; normalised; neither")


class SimpleShot(Supervised):
    """Nearest class mean of centred, normalised embeddings (section 3.2).

    The centre is the mean embedding of images of training classes, never of a task's.
    """

    Settings: ClassVar = SimpleShotSettings

    def __init__(self, backbone: Backbone, classes: int, settings: SimpleShotSettings) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, classes))
        self.transform = settings.transform
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(backbone.out_features))

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        self.centre.copy_(self.embed(images).mean(0))

    @classmethod
    def build(cls, context: MethodContext) -> "SimpleShot":
        return cls(context.backbone, context.classes, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return {"centroids": class_means(self._transformed(support), shots)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        return -torch.cdist(self._transformed(query), adapted["centroids"]).square()

    def _transformed(self, embedded: Tensor) -> Tensor:
        centred = embedded - self.centre if self.transform == "CL2N" else embedded
        return centred if self.transform == "UN" else normalize(centred, dim=-1)
