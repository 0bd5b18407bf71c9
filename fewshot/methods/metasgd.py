"""Meta-SGD (Li, Zhou, Chen & Li 2017, "Meta-SGD: learning to learn quickly for few-shot learning").

Learns, besides the initial weights, a learning rate for every single weight.
"""

import torch
from torch import nn

from fewshot.backbones.base import Backbone
from fewshot.methods.inner_loop import InnerLoop, Update
from fewshot.methods.stacked_tasks import Weights
from fewshot.settings.methods import MetaSGDSettings


class MetaSGD(InnerLoop):
    """Each weight moves by its own learned rate, which may become negative (equation 1 and algorithm 1).

    All rates start at `inner_learning_rate`, where the paper draws them at random.
    """

    def __init__(self, backbone: Backbone, way: int, settings: MetaSGDSettings) -> None:
        super().__init__(backbone, way, settings)
        self.rates = nn.ParameterList(
            torch.full_like(weight, settings.inner_learning_rate) for weight in self.network_parameters().values()
        )

    def inner_optimizer(self, tasks: int) -> Update:
        shared = dict(zip(self.network_parameters(), self.rates, strict=True))

        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            way = len(weights["head.bias"]) // tasks
            rates = {name: self.stacked(name, rate, tasks, way) for name, rate in shared.items()}
            return {name: weight - rates[name] * gradients[name] for name, weight in weights.items()}

        return update
