"""One step of the outer loop: the gradient of a batch of episodes, and the update of what all tasks share."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.config import TrainSettings
from fewshot.data.images import EpisodeBatch
from fewshot.device import prepare_thread
from fewshot.methods.contract import Method


class Done(NamedTuple):
    """What one step did: its loss and accuracy before the update, and the norm of the gradient before clipping."""

    loss: Tensor
    accuracy: Tensor
    gradient_norm: Tensor


class OuterStep:
    """Adam on the mean loss of a batch of tasks.

    The gradient is added up over parts of the batch that fit in memory together, always in the same order. Where the
    parts of a method are independent they are spread over the CPU's threads, each working alone on a copy of the
    method: kernels for a handful of images are too small to share.
    """

    def __init__(self, method: Method, settings: TrainSettings, precision: torch.dtype) -> None:
        self.method, self.settings, self.precision = method, settings, precision
        self.optimizer = torch.optim.Adam(
            method.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.device = next(method.parameters()).device
        self._copies: list[Method] = []
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, batch: EpisodeBatch, learning_rate: float) -> Done:
        """Update the method's parameters."""
        self.method.train()
        tasks, size = len(batch.query), self.method.tasks_at_once(batch)
        threads = torch.get_num_threads() if self.device.type == "cpu" and self.method.parts_are_independent else 1
        parts = batch.split(min(size, math.ceil(tasks / threads)))
        shares = self._in_threads(parts) if threads > 1 and len(parts) > 1 else map(self._gradient, parts)
        parameters = list(self.method.parameters())
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        loss = accuracy = torch.zeros((), device=self.device)
        for part, share in zip(parts, shares, strict=True):
            weight = len(part.query) / tasks
            loss, accuracy = loss + share.loss * weight, accuracy + share.accuracy * weight
            torch._foreach_add_(gradients, share.gradients, alpha=weight)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return Done(loss, accuracy, norm)

    def _gradient(self, part: EpisodeBatch, method: Method | None = None) -> "_Share":
        method = method or self.method
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            outcome = method.loss(part)
        gradients = torch.autograd.grad(outcome.loss, list(method.parameters()))
        return _Share(outcome.loss.detach(), outcome.accuracy, gradients)

    def _in_threads(self, parts: list[EpisodeBatch]) -> list["_Share"]:
        number = torch.get_num_threads()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(number, "tasks", initializer=prepare_thread)
            self._copies = [copy.deepcopy(self.method) for _ in range(number)]
        for mine in self._copies:
            mine.load_state_dict(self.method.state_dict())

        def work(worker: int) -> list[_Share]:
            return [self._gradient(part, self._copies[worker]) for part in parts[worker::number]]

        torch.set_num_threads(1)  # of each worker
        try:
            done = list(self._threads.map(work, range(number)))
        finally:
            torch.set_num_threads(number)
        return [done[place % number][place // number] for place in range(len(parts))]


class _Share(NamedTuple):
    """What one part of a batch taught."""

    loss: Tensor
    accuracy: Tensor
    gradients: tuple[Tensor, ...]
