"""Outer optimizers: the rule that moves what all tasks share, and the rate of each parameter."""

from typing import Any

import torch
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.methods.base import Method
from fewshot.settings.training import TrainSettings

FACTOR = "rate_factor"
"""Key of a parameter group: its learning rate as a multiple of the outer one."""


def learned_parameters(method: Method) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen, by name."""
    return {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}


def can_be_recorded(settings: TrainSettings) -> bool:
    """True if an accelerator may record an update: torch's SGD reads its learning rate on the host each time."""
    return settings.optimizer != "sgd"


def make_optimizer(method: Method, settings: TrainSettings, recorded_on: torch.device | None) -> torch.optim.Optimizer:
    """The optimizer of the parameters that are not frozen.

    For an update that is recorded, rates stand in memory of the device `recorded_on`, which a replay reads anew.
    """
    groups = _groups(method, settings, recorded_on)
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.momentum > 0, **common)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, capturable=recorded_on is not None, **common)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the outer learning rate of the next update, for each group as a multiple."""
    for group in optimizer.param_groups:
        rate = learning_rate * group[FACTOR]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def rate_factors(method: Method, settings: TrainSettings) -> dict[str, float]:
    """The learning rate of each parameter that is not frozen, as a multiple of the outer one."""
    factors = dict.fromkeys(learned_parameters(method), 1.0)
    backbone = getattr(method, "backbone", None)
    if not isinstance(backbone, Backbone) or settings.backbone_rate == settings.layer_decay == 1:
        return factors
    last = max(backbone.block_of(name) for name, _ in backbone.named_parameters())
    for name in factors:
        if (inside := name.removeprefix("backbone.")) != name:
            factors[name] = settings.backbone_rate * settings.layer_decay ** (last - backbone.block_of(inside))
    return factors


def _groups(method: Method, settings: TrainSettings, recorded_on: torch.device | None) -> list[dict[str, Any]]:
    """The parameters by their rate, in the method's order; one group where all have the same."""
    factors = rate_factors(method, settings)
    parameters: dict[float, list[nn.Parameter]] = {}
    for name, parameter in learned_parameters(method).items():
        parameters.setdefault(factors[name], []).append(parameter)

    def rate(factor: float) -> float | Tensor:
        rate = settings.learning_rate * factor
        return rate if recorded_on is None else torch.tensor(rate, device=recorded_on)

    return [{"params": of, "lr": rate(factor), FACTOR: factor} for factor, of in parameters.items()]
