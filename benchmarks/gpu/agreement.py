"""Losses and meta-gradients of every method: those of the CPU to rounding, and the same when computed twice."""

import math

import torch

from benchmarks.gpu.section import Section
from fewshot.data.batches import EpisodeBatch
from fewshot.methods import METHODS
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from

LIMIT = 1e-3
"""Largest relative error of a whole gradient; float32 on the CPU has some 1e-5 in the methods with an inner loop."""


def main() -> None:
    """Compare all methods."""
    section = Section()
    names = list(METHODS)[: 2 if section.small else None]
    worst = 0.0
    for name in names:
        reference = gradient(build(name).double(), "cpu", torch.float64)
        of_cpu = gradient(build(name), "cpu", torch.float32)
        torch.use_deterministic_algorithms(False)
        plain = [gradient(build(name), section.device, torch.float32) for _ in range(2)]
        torch.use_deterministic_algorithms(True, warn_only=True)
        sure = [gradient(build(name), section.device, torch.float32) for _ in range(2)]
        torch.use_deterministic_algorithms(False)
        error = distance(plain[0], reference)
        worst = max(worst, error)
        section.add(name, {
            "loss": float(plain[0]["loss"]),
            "relative error": error,
            "relative error on the CPU": distance(of_cpu, reference),
            "same twice": same(*plain),
            "same twice with deterministic algorithms": same(*sure),
        })  # fmt: skip
    section.add("largest relative error", worst)
    assert worst < LIMIT, f"a gradient differs by {worst:.2g}"


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
    """Whether all is equal to the bit."""
    return all(torch.equal(one[name], other[name]) for name in one)


if __name__ == "__main__":
    main()
