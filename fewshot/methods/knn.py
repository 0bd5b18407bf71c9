"""Nearest neighbours on fixed embeddings (Cover & Hart 1967), with votes weighted by cosine."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.support_votes import SupportVotes
from fewshot.settings.base import MethodSettings


class KNNSettings(MethodSettings):
    """Nearest neighbours on fixed embeddings."""

    neighbours: int = Field(3, ge=1, description="support images that vote; with fewer images, all of them")
    scale: float = Field(10.0, gt=0, description="factor from votes to logits")


class KNN(SupportVotes):
    """The nearest support images by cosine vote, each with a weight that grows with its cosine.

    Of images that are equally near all vote, so that no order decides. A class's vote is its sum over neighbours.
    """

    Settings: ClassVar = KNNSettings
    is_static = True

    def __init__(self, backbone: Backbone, settings: KNNSettings) -> None:
        super().__init__(backbone)
        self.settings = settings

    @classmethod
    def build(cls, context: MethodContext) -> "KNN":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        adapted = super().adapt(support, shots)
        return {**adapted, "labels": (adapted["labels"] > 0).to(support.dtype)}

    def votes(self, cosines: Float[Tensor, "task query image"]) -> Float[Tensor, "task query image"]:
        number = min(self.settings.neighbours, cosines.shape[-1])
        least = cosines.detach().topk(number, dim=-1).values[..., -1:]
        return self.settings.scale * (1 + cosines) * (cosines >= least)
