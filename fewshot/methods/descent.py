"""The inner loop's descent: from weights to weights, one gradient step after another."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from fewshot.methods.stacked_network import Weights

GradientOrder = Literal["none", "first", "second"]
"""Order of a meta-gradient: it passes through nothing; the updates (section 5.2, end); these and inner gradients."""

InnerLoss = Callable[[Weights, int], Tensor]
"""(adapted weights, step counted from 0) -> the loss that this step descends, summed over tasks."""

Update = Callable[[Weights, Weights, int], Weights]
"""(weights, gradients of the same names, step counted from 0) -> the weights after that step."""


def descend(loss: InnerLoss, weights: Weights, update: Update, steps: int, order: GradientOrder) -> Iterator[Weights]:
    """The weights before, then after each of `steps` updates by the gradient of `loss(weights, step)`."""
    if order == "none":
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    yield weights
    for step in range(steps):
        with torch.enable_grad():
            # Nodes of their own: where one of the first weights is made from others, each still counts by itself.
            at = {name: weight.view_as(weight) for name, weight in weights.items()}
            value = loss(at, step)
        second = order == "second"
        gradients = torch.autograd.grad(value, list(at.values()), create_graph=second, materialize_grads=True)
        named = dict(zip(weights, gradients, strict=True))
        with torch.set_grad_enabled(order != "none"):
            weights = update(weights, named, step)
        if order == "none":
            weights = {name: weight.requires_grad_() for name, weight in weights.items()}
        yield weights


def last(path: Iterable[Weights]) -> Weights:
    """The weights after the last step; those before it are freed on the way."""
    return deque(path, maxlen=1)[0]
