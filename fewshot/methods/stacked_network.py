"""The networks of T tasks, computed at once: how an inner loop is made fast.

The tasks' weights are stacked along their first axis, their images stand next to each other in the channels, and each
layer computes T networks as channel groups: see `fewshot.backbones.fast.grouped_layers`.
"""

import copy
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewshot.backbones.base import Backbone
from fewshot.backbones.fast.grouped_layers import computes_groups
from fewshot.methods.base import full_precision

Weights = dict[str, Tensor]
"""Weights of T tasks, stacked along the first axis: a filter bank of 64 is [64 T, ...]."""

Images = Float[Tensor, "task image channel height width"]


class Limits(NamedTuple):
    """The size of one stack, by the kind of device; fixed, so that bits do not depend on the memory that is free."""

    tasks: int
    images: int
    """Of all its tasks: their activations are kept together."""
    queries: int
    """Of all its tasks, in one pass under the adapted weights."""


LIMITS = {
    # Stacking pays for support sets, whose kernels are small; with more queries at once activations leave the caches.
    "cpu": Limits(tasks=8, images=640, queries=75),
    # A pass costs the same few hundred launches whatever its size. 4,096 images of 28x28 take some 3 GB of a Conv-4.
    "cuda": Limits(tasks=64, images=4096, queries=4096),
}


def limits_of(device: torch.device) -> Limits:
    """The limits for a kind of device; those of a CPU where nothing was measured."""
    return LIMITS.get(device.type, LIMITS["cpu"])


class StackedNetwork:
    """A backbone as a function of its weights: (weights of T tasks, images of T tasks) -> embeddings.

    The backbone is only read. `functional_call` puts other weights into a module while it computes, and batch
    normalisation has a mode; both therefore happen in a skeleton, a copy of the backbone without values, which one
    call at a time has for itself.
    """

    def __init__(self, backbone: Backbone, groups: bool) -> None:
        """`groups`: whether several tasks are computed at once, where the backbone's layers can."""
        self.backbone = backbone
        self.groups = groups and computes_groups(backbone)
        self.is_frozen = not any(parameter.requires_grad for parameter in backbone.parameters())
        self._idle: deque[Backbone] = deque()

    def __deepcopy__(self, memo: dict[int, object]) -> "StackedNetwork":
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.backbone, twin._idle = copy.deepcopy(self.backbone, memo), deque()
        return twin

    def tasks_at_once(self, images_of_a_task: int) -> int:
        """Number of tasks in one stack."""
        limits = limits_of(next(self.backbone.parameters()).device)
        return max(1, min(limits.tasks, limits.images // images_of_a_task)) if self.groups else 1

    def features(
        self, weights: Weights, images: Images, training: bool, batch_statistics: bool
    ) -> Float[Tensor, "task image feature"]:
        """Embeddings of each task's images under its own weights, those that begin with "backbone.".

        `training` is the mode of layers that drop values. Batch normalisation uses the statistics of `images`, and
        leaves them in the buffers of `weights` where they are given, or uses the statistics in `weights`.
        """
        if batch_statistics:
            weights = self.fresh_buffers(len(images)) | weights
        given = {name.removeprefix("backbone."): t for name, t in weights.items() if name.startswith("backbone.")}
        shared = dict(self.backbone.named_parameters()) | dict(self.backbone.named_buffers())
        stack = images.transpose(0, 1).flatten(1, 2)  # image, task x channel, height, width
        with self._skeleton() as skeleton:
            skeleton.train(training)
            for layer in skeleton.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.train(batch_statistics and not self.is_frozen)
            features: Tensor = functional_call(skeleton, shared | given, stack)
        of_task: Tensor = features.unflatten(1, (len(images), -1)).transpose(0, 1)
        return of_task

    def fresh_buffers(self, tasks: int) -> Weights:
        """Copies of the running statistics for each task, to be thrown away."""
        buffers = {f"backbone.{name}": buffer for name, buffer in self.backbone.named_buffers()}
        return {name: torch.cat([b] * tasks) if b.dim() else b.clone() for name, b in buffers.items()}

    @contextmanager
    def _skeleton(self) -> Iterator[Backbone]:
        """A copy of the backbone without values, taken from those that are idle or made."""
        try:
            skeleton = self._idle.pop()
        except IndexError:
            skeleton = copy.deepcopy(self.backbone).to("meta")
            for layer in skeleton.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = 1.0  # a pass leaves exactly its own statistics in the buffers
        yield skeleton
        self._idle.append(skeleton)  # not after an error, of which traces may be left


def flat(support: Float[Tensor, "task way shot channel height width"]) -> tuple[Images, Int64[Tensor, "image"], int]:
    """The support images of each task in one axis, the class of each, and the number of classes."""
    way, shot = support.shape[1:3]
    return support.flatten(1, 2), torch.arange(way, device=support.device).repeat_interleave(shot), way


def stacked(tensor: Tensor, tasks: int) -> Tensor:
    """A tensor that all tasks share, repeated for each of them along the first axis."""
    return torch.cat([tensor] * tasks)


def in_parts(weights: Weights, queries: Images) -> list[tuple[Weights, Tensor]]:
    """The tasks' weights and queries in parts of at most `Limits.queries` queries, or of one task."""
    total, size = len(queries), max(1, limits_of(queries.device).queries // queries.shape[1])
    parts = queries.split(size)
    of_parts = {
        # A scalar, the counter of a batch normalisation, is no stack and goes to every part.
        name: weight.split([len(weight) // total * len(part) for part in parts]) if weight.dim() else [weight] * total
        for name, weight in weights.items()
    }
    return [({name: of[place] for name, of in of_parts.items()}, part) for place, part in enumerate(parts)]


def linear(weights: Weights, features: Float[Tensor, "task image feature"]) -> Float[Tensor, "task image way"]:
    """The logits of the linear head of each task."""
    rows, biases = (weights[name].unflatten(0, (len(features), -1)) for name in ("head.weight", "head.bias"))
    logits: Tensor = full_precision(features @ rows.transpose(1, 2)) + biases[:, None]
    return logits


def sum_of_task_losses(logits: Float[Tensor, "task image way"], labels: Int64[Tensor, "image"]) -> Float[Tensor, ""]:
    """The sum over tasks of the mean cross-entropy: each has weights of its own, so that their gradients don't mix."""
    return cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits))) * len(logits)


def log_mean_probability(members: list[Float[Tensor, "task image way"]]) -> Float[Tensor, "task image way"]:
    """Logits of the mean of the members' probabilities; those of a single member as they are."""
    if len(members) == 1:
        return members[0]
    return torch.stack([logits.log_softmax(-1) for logits in members]).logsumexp(0) - math.log(len(members))
