"""A support vector machine on fixed embeddings: MetaOptNet (Lee et al. 2019) with nothing meta-learned."""

from typing import ClassVar

import torch
from pydantic import Field

from fewshot.backbones.base import Backbone
from fewshot.methods.linear_head import Dual, Kernel, LinearHead, LinearHeadSettings
from fewshot.methods.metaoptnet import newton_step, solve


class SVMSettings(LinearHeadSettings):
    """A support vector machine on fixed embeddings."""

    penalty: float = Field(1.0, gt=0, description="C, the price of a violated margin")
    scale: float = Field(10.0, gt=0, description="factor from decision values to logits")
    iterations: int = Field(200, ge=1, description="of the solver, at most")


class SVM(LinearHead):
    """The multi-class support vector machine of Crammer & Singer on embeddings of length 1."""

    Settings: ClassVar = SVMSettings

    def __init__(self, backbone: Backbone, settings: SVMSettings) -> None:
        super().__init__(backbone, settings)
        self.settings, self.scale = settings, settings.scale

    def fit_dual(self, kernel: Kernel, wanted: Dual) -> Dual:
        with torch.no_grad():
            dual = solve(kernel, wanted, self.settings.penalty, self.settings.iterations)
        if torch.is_grad_enabled():
            dual = newton_step(kernel, wanted, self.settings.penalty, dual)
        return dual
