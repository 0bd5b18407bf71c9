"""What the MAML family shares: gradient descent on weights that are an argument."""

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_descent(
    loss: Callable[[dict[str, Tensor]], Tensor],
    weights: dict[str, Tensor],
    learning_rate: float,
    steps: int,
    second_order: bool,
) -> dict[str, Tensor]:
    """`steps` updates w <- w - learning_rate * d loss / d w, as new tensors that still depend on `weights`.

    With `second_order` the gradients themselves can be differentiated again; without it they count as constants
    (the first-order approximation of Finn et al. 2017, section 5.2). The update is in float32.
    """
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=second_order)
        weights = {
            name: torch.sub(weight, gradient, alpha=learning_rate)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights
