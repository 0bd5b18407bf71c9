"""Logistic regression on fixed embeddings (Tian et al. 2020, "Rethinking few-shot image classification")."""

from typing import ClassVar

import torch
from pydantic import Field

from fewshot.backbones.base import Backbone
from fewshot.methods.linear_head import Dual, Kernel, LinearHead, LinearHeadSettings


class LogisticSettings(LinearHeadSettings):
    """Logistic regression on fixed embeddings."""

    inverse_penalty: float = Field(100.0, gt=0, description="C, as scikit-learn has it: the price of errors")
    iterations: int = Field(60, ge=1, description="of the solver")


class Logistic(LinearHead):
    """Multinomial logistic regression with a quadratic penalty and without intercept, on embeddings of length 1.

    Solved by Böhning's bound on the curvature (Böhning 1992): each iteration is one product with a matrix that is
    computed once, accelerated as Nesterov has it, so that many tasks are fitted at once and always alike.
    """

    Settings: ClassVar = LogisticSettings

    def __init__(self, backbone: Backbone, settings: LogisticSettings) -> None:
        super().__init__(backbone, settings)
        self.penalty, self.iterations = 1 / settings.inverse_penalty, settings.iterations

    def fit_dual(self, kernel: Kernel, wanted: Dual) -> Dual:
        identity = torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
        step = torch.linalg.inv(kernel / 2 + self.penalty * identity)
        dual = ahead = torch.zeros_like(wanted)
        for iteration in range(self.iterations):
            slope = (kernel @ ahead).softmax(-1) - wanted + self.penalty * ahead
            new = ahead - step @ slope
            ahead = new + iteration / (iteration + 3) * (new - dual)
            dual = new
        return dual
