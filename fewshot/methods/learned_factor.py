"""A positive number that is learned together with a network."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LearnedFactor(nn.Module):
    """Multiplies by a learned positive number, kept as its logarithm.

    Adam moves each parameter by about the learning rate in a step, whatever its size: with a rate of 0.002 that falls
    to zero, 3,000 steps move a number that is kept as it is by 3 at most, its logarithm by a factor of 20.
    """

    def __init__(self, start: float) -> None:
        """`start` is its value before training; positive."""
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.logarithm.exp() * values
