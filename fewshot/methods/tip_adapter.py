"""Tip-Adapter's cache (Zhang et al. 2022, "Tip-Adapter: training-free adaption of CLIP"), without text."""

from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.support_votes import SupportVotes
from fewshot.settings.base import MethodSettings


class TipAdapterSettings(MethodSettings):
    """Tip-Adapter's cache without text."""

    sharpness: float = Field(5.5, gt=0, description="beta: how fast the vote of an image falls with its distance")
    scale: float = Field(30.0, gt=0, description="factor from votes to logits")


class TipAdapter(SupportVotes):
    """The vote of a support image is exp(-beta (1 - cosine)) (section 3.1, equation 4).

    The paper adds a classifier made of the class names' text, weighted by alpha; there is none here. A class's vote is
    the mean over its images instead of the sum, so that unequal numbers of images do not matter.
    """

    Settings: ClassVar = TipAdapterSettings
    is_static = True

    def __init__(self, backbone: Backbone, settings: TipAdapterSettings) -> None:
        super().__init__(backbone)
        self.settings = settings

    @classmethod
    def build(cls, context: MethodContext) -> "TipAdapter":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    def votes(self, cosines: Float[Tensor, "task query image"]) -> Float[Tensor, "task query image"]:
        return self.settings.scale * (self.settings.sharpness * (cosines - 1)).exp()
