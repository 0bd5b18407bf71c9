"""Losses and meta-gradients of every method: those of the CPU to rounding, and the same when computed twice.

Of a method whose step may be recorded as a CUDA graph, too, whether steps give the bits of steps that are not recorded.
"""

import math

import torch

from benchmarks.gpu.section import Section
from fewshot.data.batches import EpisodeBatch
from fewshot.methods import METHODS
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from
from fewshot.settings.training import TrainSettings
from fewshot.system.device import Compute
from fewshot.training.outer_step import OuterStep

TIMES, SURELY = 5.0, 1e-5
"""A gradient may be so many times as far from float64's as the CPU's, or this far."""

STEPS = 12
"""Outer steps that are compared; most of them are recorded."""


def main() -> None:
    """Compare all methods."""
    section = Section()
    names = list(METHODS)[: 2 if section.small else None]
    wrong = []
    for name in names:
        reference = gradient(build(name).double(), "cpu", torch.float64)
        of_cpu = gradient(build(name), "cpu", torch.float32)
        torch.use_deterministic_algorithms(False)
        plain = [gradient(build(name), section.device, torch.float32) for _ in range(2)]
        torch.use_deterministic_algorithms(True, warn_only=True)
        sure = [gradient(build(name), section.device, torch.float32) for _ in range(2)]
        torch.use_deterministic_algorithms(False)
        error = distance(plain[0], reference)
        of_cpu_error = distance(of_cpu, reference)
        recorded = recorded_is_same(name, section.device) if section.device.type == "cuda" else None
        if error > max(TIMES * of_cpu_error, SURELY) or not same(*sure) or recorded is False:
            wrong.append(name)
        section.add(name, {
            "loss": float(plain[0]["loss"]),
            "relative error": error,
            "relative error on the CPU": of_cpu_error,
            "same twice": same(*plain),
            "same twice with deterministic algorithms": same(*sure),
            "recorded steps are the same": recorded,
        })  # fmt: skip
    assert not wrong, f"not as on the CPU, or not the same twice: {', '.join(wrong)}"


def recorded_is_same(name: str, device: torch.device) -> bool | None:
    """Equality, to the bit, of the weights after recorded and after unrecorded steps; None: it is not recorded."""
    found = []
    for records in (True, False):
        method = build(name).to(device)
        compute = Compute(device, torch.float32)
        compute.prepare()
        step = OuterStep(method, TrainSettings(tasks=4), compute)
        if step.recorded is None:
            return None
        if not records:
            step.recorded = None
        generator = torch.Generator().manual_seed(2)
        for number in range(STEPS):
            images = torch.rand(4, 5, 6, 1, 28, 28, generator=generator).to(device)
            classes = torch.arange(20).view(4, 5).to(device)
            step(EpisodeBatch(images[:, :, :1], images[:, :, 1:], classes), 1e-3 / (1 + number), number / STEPS)
        if step.recorded is not None:
            assert step.recorded.is_recorded, f"{name}: the step was not recorded"
        found.append(method.state_dict())
    return same(*found)


def build(name: str) -> Method:
    """A method on Conv-4 (32 filters), its weights a little away from where they start."""
    values = {
        "method": {"name": name},
        "backbone": {"form": "pool", "channels": 32},
        "train": {"episode": "5w1s5q"},
        "device": "cpu",
    }
    method = build_method(settings_from(values), (1, 28, 28), 20)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return method


def gradient(method: Method, device: torch.device | str, precision: torch.dtype) -> dict[str, torch.Tensor]:
    """The loss of the same four tasks and its whole gradient, on the CPU in float64."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(4, 5, 6, 1, 28, 28, generator=generator, dtype=torch.float64).to(device, precision)
    classes = torch.arange(20).view(4, 5).to(device)
    method.to(device).train()
    loss = method.loss(EpisodeBatch(images[:, :, :1], images[:, :, 1:], classes), 1.0).loss
    parameters = {name: of for name, of in method.named_parameters() if of.requires_grad}
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return {"loss": loss.detach().cpu().double()} | {
        name: of.cpu().double() for name, of in zip(parameters, found, strict=True)
    }


def distance(found: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> float:
    """The norm of the difference, relative to that of the reference."""
    difference = math.sqrt(sum(float((found[name] - reference[name]).square().sum()) for name in reference))
    return difference / math.sqrt(sum(float(of.square().sum()) for of in reference.values()))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equality of all tensors, to the bit."""
    return all(torch.equal(one[name], other[name]) for name in one)


if __name__ == "__main__":
    main()
