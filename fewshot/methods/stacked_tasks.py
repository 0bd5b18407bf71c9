"""Tasks side by side: their weights stacked, their images next to each other."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from fewshot.methods.base import full_precision

Weights = dict[str, Tensor]
"""Weights of T tasks, stacked along the first axis: a filter bank of 64 is [64 T, ...]."""

Images = Float[Tensor, "task image channel height width"]

QUERIES_AT_ONCE = 75
"""Side by side pays for support sets, whose kernels are small; more queries at once than these would leave caches."""


def flat(
    support: Float[Tensor, "task way shot channel height width"],
) -> tuple[Images, Int64[Tensor, "image"]]:
    """The support images of each task in one axis, and the class of each."""
    way, shot = support.shape[1:3]
    return support.flatten(1, 2), torch.arange(way, device=support.device).repeat_interleave(shot)


def in_parts(weights: Weights, queries: Images) -> list[tuple[Weights, Tensor]]:
    """The tasks' weights and queries in parts of at most QUERIES_AT_ONCE queries, or of one task."""
    total, size = len(queries), max(1, QUERIES_AT_ONCE // queries.shape[1])
    parts = queries.split(size)
    of_parts = {
        # What is no stack, the counter of a batch normalisation, goes to every part.
        name: weight.split([len(weight) // total * len(part) for part in parts]) if weight.dim() else [weight] * total
        for name, weight in weights.items()
    }
    return [({name: of[place] for name, of in of_parts.items()}, part) for place, part in enumerate(parts)]


def linear(weights: Weights, features: Float[Tensor, "task image feature"]) -> Float[Tensor, "task image way"]:
    """The logits of the linear head of each task."""
    rows, biases = (weights[name].unflatten(0, (len(features), -1)) for name in ("head.weight", "head.bias"))
    logits: Tensor = full_precision(features @ rows.transpose(1, 2)) + biases[:, None]
    return logits


def loss_of_tasks(logits: Float[Tensor, "task image way"], labels: Int64[Tensor, "image"]) -> Float[Tensor, ""]:
    """The sum over tasks of the mean cross-entropy: as each has weights of its own, their gradients don't mix."""
    return cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits))) * len(logits)


def averaged(members: list[Float[Tensor, "task image way"]]) -> Float[Tensor, "task image way"]:
    """Logits of the mean of the members' probabilities; one member's as they are."""
    if len(members) == 1:
        return members[0]
    return torch.stack([logits.log_softmax(-1) for logits in members]).logsumexp(0) - math.log(len(members))
