"""Meta-gradient descent: a meta-learner that optimizes the parameters of a base learner over many tasks.

After Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent", and Ravi & Larochelle 2017,
"Optimization as a model for few-shot learning", whose initial weights are learned as well.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot.backbones.contract import Backbone
from fewshot.method_settings import LearnedOptimizerSettings
from fewshot.methods.inner_loop import InnerLoop, Update
from fewshot.methods.side_by_side import Weights

SMALL = 1e-3
"""Gradients well above it count by their logarithm, those below by their value."""


class LearnedOptimizer(InnerLoop):
    """A small network, the same for every coordinate, maps its gradient, parameter and step to its update:

        w <- w - rate (exp(a) g + b),    a, b = network(log-scaled g, w, step / steps).

    Its last layer begins at zero, that is with gradient descent at `inner_learning_rate`; the outer loop trains it
    together with the initial weights, through the unrolled inner loop. The logarithmic scale (asinh) is a smooth form
    of the one in the appendix of Andrychowicz et al., and gradients pass through it; the network is an MLP instead of
    an LSTM, so that its only memory is the parameter and the step.
    """

    def __init__(self, backbone: Backbone, way: int, settings: LearnedOptimizerSettings) -> None:
        super().__init__(backbone, way, settings)
        self.meta_learner = nn.Sequential(nn.Linear(3, settings.hidden), nn.SiLU(), nn.Linear(settings.hidden, 2))
        for parameter in self.meta_learner[-1].parameters():
            nn.init.zeros_(parameter)

    def tasks_at_once(self, images_of_a_task: int) -> int:
        """A quarter of what the others take: of each weight of each task the network's units are kept."""
        return max(1, super().tasks_at_once(images_of_a_task) // 4)

    def updater(self, tasks: int) -> Update:
        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            with torch.autocast(next(iter(weights.values())).device.type, enabled=False):
                return {name: self._updated(weight, gradients[name], step) for name, weight in weights.items()}

        return update

    def _updated(
        self, weight: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"], step: int
    ) -> Float[Tensor, "*shape"]:
        at = torch.full_like(gradient, step / max(1, self.settings.inner_steps))
        factor, offset = self.meta_learner(torch.stack([log_scaled(gradient), weight, at], -1)).unbind(-1)
        moved: Tensor = weight - self.settings.inner_learning_rate * (factor.exp() * gradient + offset)
        return moved


def log_scaled(gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Sign and order of magnitude in one number, 1 for a gradient of 1."""
    return (gradient / SMALL).asinh() / torch.tensor(1 / SMALL).asinh().item()
