"""Meta-gradient descent: a learned optimizer that updates the parameters of a base learner, over many tasks.

After Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent", and Ravi & Larochelle 2017,
"Optimization as a model for few-shot learning", whose initial weights are learned as well.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from fewshot.backbones.base import Backbone
from fewshot.methods.descent import Update
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.stacked_network import Weights

SMALL = 1e-3
"""Gradients well above it count by their logarithm, those below by their value."""


class LearnedOptimizerSettings(InnerLoopSettings):
    """Meta-gradient descent: a learned optimizer of a base learner (Andrychowicz et al. 2016)."""

    inner_learning_rate: float = Field(0.1, gt=0, description="size of the first updates, before anything is learned")
    hidden: int = Field(16, ge=1, description="hidden units of the learned optimizer")


class UpdateNetwork(nn.Module):
    """A small network, the same for every coordinate, from its gradient, parameter and step to a direction:

        exp(a + r) g + b,    a, b = network(log-scaled g, w, step / steps, e).

    Layers need steps of different sizes. The network therefore knows which tensor a coordinate belongs to: e is learned
    for each tensor and added to the hidden units, r for each tensor and step.
    """

    def __init__(self, tensors: int, steps: int, hidden: int) -> None:
        """`tensors` and `steps` are their numbers; everything that forms the output begins at zero."""
        super().__init__()
        self.steps = max(1, steps)
        self.hidden, self.out = nn.Linear(3, hidden), nn.Linear(hidden, 2)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)
        self.tensors = nn.Parameter(torch.zeros(tensors, hidden))
        self.factors = nn.Parameter(torch.zeros(tensors, self.steps))

    def forward(
        self, gradient: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"], tensor: int, step: int
    ) -> Float[Tensor, "*shape"]:
        """The direction against which each coordinate moves. A step after the last trained one is like that one."""
        step = min(step, self.steps - 1)
        of_gradient, of_weight, of_step = self.hidden.weight.unbind(1)
        bias = self.hidden.bias + self.tensors[tensor] + of_step * (step / self.steps)
        # Units before coordinates: twice as fast as the usual order, in which so few units make short rows.
        inputs = torch.stack([log_scaled(gradient), weight]).flatten(1)
        hidden = silu(torch.addmm(bias[:, None], torch.stack([of_gradient, of_weight], 1), inputs))
        factor, offset = torch.addmm(self.out.bias[:, None], self.out.weight, hidden).view(2, *gradient.shape)
        direction: Tensor = (factor + self.factors[tensor, step]).exp() * gradient + offset
        return direction


class LearnedOptimizer(InnerLoop):
    """An inner loop whose steps go `inner_learning_rate` times against the direction of a learned network.

    It begins as gradient descent; the outer loop trains it together with the initial weights, through the unrolled
    inner loop. The logarithmic scale (asinh) is a smooth form of the one in the appendix of Andrychowicz et al., and
    gradients pass through it. Two deviations: the network is an MLP instead of an LSTM, so that its only memory is the
    parameter and the step; and it knows the tensor, where Andrychowicz et al. train one optimizer for each kind of
    layer (section 3.3) and Ravi & Larochelle one for all.
    """

    is_static = True
    Settings: ClassVar = LearnedOptimizerSettings

    def __init__(self, backbone: Backbone, way: int, settings: LearnedOptimizerSettings) -> None:
        super().__init__(backbone, way, settings)
        adapted = [name for name in self.network_parameters() if self.is_adapted(name)]
        self.meta_learner = UpdateNetwork(len(adapted), settings.inner_steps, settings.hidden)

    def tasks_at_once(self, images_of_a_task: int) -> int:
        """A quarter of MAML's: the hidden units for each weight of each task are kept."""
        return max(1, super().tasks_at_once(images_of_a_task) // 4)

    def inner_optimizer(self, tasks: int, rows: Int64[Tensor, "way"]) -> Update:
        """Descent along the learned directions, in float32."""
        rate = self.settings.inner_learning_rate

        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            with torch.autocast(next(iter(weights.values())).device.type, enabled=False):
                return {
                    name: weight - rate * self.meta_learner(gradients[name], weight, tensor, step)
                    for tensor, (name, weight) in enumerate(weights.items())
                }

        return update


def log_scaled(gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Sign and order of magnitude in one number, 1 for a gradient of 1."""
    return (gradient / SMALL).asinh() / torch.tensor(1 / SMALL).asinh().item()
