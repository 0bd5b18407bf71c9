"""Meta-SGD (Li, Zhou, Chen & Li 2017, "Meta-SGD: learning to learn quickly for few-shot learning").

Learns, besides the initial weights, a learning rate for every single weight.
"""

from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.methods.descent import Update
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.stacked_network import Weights, stacked


class MetaSGDSettings(InnerLoopSettings):
    """Meta-SGD (Li et al. 2017); inner_learning_rate is where the learned rates start."""


class MetaSGD(InnerLoop):
    """Each weight moves by its own learned rate, which may become negative (equation 1 and algorithm 1).

    All rates start at `inner_learning_rate`, where the paper draws them at random.
    """

    is_static = True
    Settings: ClassVar = MetaSGDSettings

    def __init__(self, backbone: Backbone, way: int, settings: MetaSGDSettings) -> None:
        super().__init__(backbone, way, settings)
        self.rates = nn.ParameterList(
            torch.full_like(weight, settings.inner_learning_rate) for weight in self.network_parameters().values()
        )

    def inner_optimizer(self, tasks: int, rows: Int64[Tensor, "way"]) -> Update:
        """Gradient descent with a rate for each weight; a class has the rates of its row."""
        shared = dict(zip(self.network_parameters(), self.rates, strict=True))

        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            rates = {name: stacked(self.for_rows(name, rate, rows), tasks) for name, rate in shared.items()}
            return {name: weight - rates[name] * gradients[name] for name, weight in weights.items()}

        return update
