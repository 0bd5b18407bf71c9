"""Ridge regression to one-hot labels on fixed embeddings: R2-D2 (Bertinetto et al. 2019) with nothing meta-learned."""

from typing import ClassVar

import torch
from pydantic import Field

from fewshot.backbones.base import Backbone
from fewshot.methods.linear_head import Dual, Kernel, LinearHead, LinearHeadSettings


class RidgeSettings(LinearHeadSettings):
    """Ridge regression on fixed embeddings."""

    penalty: float = Field(1.0, gt=0, description="lambda, the price of large weights")
    scale: float = Field(10.0, gt=0, description="factor from the regression to logits")


class Ridge(LinearHead):
    """Ridge regression in the Woodbury form (Bertinetto et al. 2019, equation 4), with a fixed penalty."""

    Settings: ClassVar = RidgeSettings

    def __init__(self, backbone: Backbone, settings: RidgeSettings) -> None:
        super().__init__(backbone, settings)
        self.penalty, self.scale = settings.penalty, settings.scale

    def fit_dual(self, kernel: Kernel, wanted: Dual) -> Dual:
        return ridge_dual(kernel, wanted, self.penalty * torch.eye(kernel.shape[1]).to(kernel))


def ridge_dual(kernel: Kernel, wanted: Dual, penalty: torch.Tensor) -> Dual:
    """(K + penalty)^-1 Y, where `penalty` is a multiple of the identity."""
    solved: Dual = torch.linalg.solve(kernel + penalty, wanted)
    return solved
