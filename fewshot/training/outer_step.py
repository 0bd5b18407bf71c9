"""One step of the outer loop: the gradient of a batch of episodes, and the update of what all tasks share."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import Method
from fewshot.methods.task_threads import Workers
from fewshot.settings.training import TrainSettings
from fewshot.system.device import Compute
from fewshot.training.optimizers import can_be_recorded, learned_parameters, make_optimizer, set_learning_rate
from fewshot.training.recorded_step import RecordedStep


class StepMetrics(NamedTuple):
    """Loss and accuracy of one step before its update, and the norm of the gradient before clipping."""

    loss: Tensor
    accuracy: Tensor
    gradient_norm: Tensor


class OuterStep:
    """A gradient step on the mean loss of a batch of tasks.

    The gradient is added up over parts of the batch that fit in memory, always in the same order.
    """

    def __init__(self, method: Method, settings: TrainSettings, compute: Compute) -> None:
        self.method, self.settings, self.compute = method, settings, compute
        if not learned_parameters(method):
            raise UsageError(
                f"{type(method).__name__} has nothing to learn on a frozen backbone; set backbone.frozen=false, choose "
                "a method with parameters of its own, such as method.name=relation, or use the backbone as it is with "
                "train.steps=0"
            )
        is_random = any(getattr(module, "is_random", False) for module in method.modules())
        is_static = method.is_static and not is_random
        records = compute.device.type == "cuda" and is_static and can_be_recorded(settings)
        self.recorded = RecordedStep(compute.device) if records else None
        self.optimizer = make_optimizer(method, settings, compute.device if records else None)
        self._workers = Workers(method, compute)

    def __call__(self, batch: EpisodeBatch, learning_rate: float, fraction_done: float = 1.0) -> StepMetrics:
        """Update the method's parameters. `fraction_done` is the share of the training steps that is done."""
        self.method.train()
        set_learning_rate(self.optimizer, learning_rate)
        if self.recorded:
            return StepMetrics(*self.recorded(partial(self._update, fraction_done=fraction_done), batch))
        return self._update(batch, fraction_done)

    def _update(self, batch: EpisodeBatch, fraction_done: float) -> StepMetrics:
        tasks = len(batch.query)
        size = self.method.tasks_at_once(batch.images_of_a_task)
        parts = batch.split(min(size, math.ceil(tasks / self._workers.number())))
        parameters = list(learned_parameters(self.method).values())
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        loss = accuracy = torch.zeros((), device=batch.query.device)
        gradient_of = partial(_gradient, self.method, self.compute, fraction_done)
        for part, share in zip(parts, self._workers.map(gradient_of, parts), strict=True):
            weight = len(part.query) / tasks
            loss, accuracy = loss + share.loss * weight, accuracy + share.accuracy * weight
            torch._foreach_add_(gradients, share.gradients, alpha=weight)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        self.optimizer.step()
        return StepMetrics(loss, accuracy, norm)


class PartialGradient(NamedTuple):
    """Loss, accuracy and gradients of one part of a batch."""

    loss: Tensor
    accuracy: Tensor
    gradients: tuple[Tensor, ...]


def _gradient(method: Method, compute: Compute, fraction_done: float, part: EpisodeBatch) -> PartialGradient:
    with compute.autocast():
        outcome = method.loss(part, fraction_done)
    # A parameter without effect on the loss, as a head before its stage of the training, gets zeros.
    parameters = list(learned_parameters(method).values())
    gradients = torch.autograd.grad(outcome.loss, parameters, materialize_grads=True)
    return PartialGradient(outcome.loss.detach(), outcome.accuracy, gradients)
