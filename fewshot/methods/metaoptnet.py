"""MetaOptNet (Lee, Maji, Ravichandran & Soatto 2019, "Meta-learning with differentiable convex optimization").

A task's classifier is a support vector machine on embeddings; gradients pass through its optimum.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, one_hot
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.settings.base import MethodSettings

Kernel = Float[Tensor, "task image image"]
Dual = Float[Tensor, "task image way"]

CLOSE = 1e-6
"""Share of C: the solver stops when no dual variable moves by more, and counts smaller ones as zero."""


class MetaOptNetSettings(MethodSettings):
    """A support vector machine on embeddings (Lee et al. 2019)."""

    penalty: float = Field(0.1, gt=0, description="C, the price of a violated margin")
    iterations: int = Field(200, ge=1, description="of the solver, at most")


class MetaOptNet(EmbeddingMethod):
    """The multi-class support vector machine of Crammer & Singer (equation 5), by its dual (equations 8 and 9).

    The dual is solved by accelerated projected gradient instead of an interior-point method. The logits' scale is
    learned, as in the authors' code.
    """

    Settings: ClassVar = MetaOptNetSettings

    def __init__(self, backbone: Backbone, settings: MetaOptNetSettings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.scale = LearnedFactor(1.0)

    @classmethod
    def build(cls, context: MethodContext) -> "MetaOptNet":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        kernel = support @ support.transpose(1, 2)
        wanted = one_hot(shots, support).expand(len(support), -1, -1)
        with torch.no_grad():
            dual = solve(kernel, wanted, self.settings.penalty, self.settings.iterations)
        if torch.is_grad_enabled():  # the system grows with (images x way)^2, and is for the gradient alone
            dual = newton_step(kernel, wanted, self.settings.penalty, dual)
        return {"weights": support.transpose(1, 2) @ dual}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        logits: Tensor = self.scale(query @ adapted["weights"])
        return logits


def solve(kernel: Kernel, wanted: Dual, penalty: float, iterations: int) -> Dual:
    """The a that minimises 1/2 sum_m a_m' K a_m - sum_im y_im a_im, where a_im <= C y_im and sum_m a_im = 0.

    C y - a is not negative and sums to C in each row: a point of a simplex, on which projecting is a sort. Nesterov's
    acceleration starts anew whenever it leads uphill (O'Donoghue & Candes 2015).
    """
    step = 1 / torch.linalg.matrix_norm(kernel, ord=2).clamp_min(1e-12)[:, None, None]
    dual = ahead = torch.zeros_like(wanted)
    momentum = torch.ones_like(step)
    for _ in range(iterations):
        slope = kernel @ ahead - wanted
        new = penalty * wanted - _onto_simplex(penalty * wanted - (ahead - step * slope), penalty)
        uphill = ((ahead - new) * (new - dual)).sum((1, 2), keepdim=True) > 0
        next_momentum = torch.where(uphill, 1.0, (1 + (1 + 4 * momentum.square()).sqrt()) / 2)
        ahead = new + torch.where(uphill, 0.0, (momentum - 1) / next_momentum) * (new - dual)
        moved = (new - dual).abs().max()
        dual, momentum = new, next_momentum
        if moved <= CLOSE * penalty:
            break
    return dual


def newton_step(kernel: Kernel, wanted: Dual, penalty: float, dual: Dual) -> Dual:
    """One step of Newton's method from a solution, on the variables that are not at their bound.

    The value all but stays; by the implicit function theorem its gradient in `kernel` is that of the solution, because
    only the residual depends on `kernel` here and the system is a constant.
    """
    tasks, images, way = dual.shape
    free = (penalty * wanted - dual > CLOSE * penalty * 100).to(dual.dtype).flatten(1)
    with torch.no_grad():
        # Unknown: the change of each variable, then the multiplier of each image's sum.
        identity = torch.eye(way, dtype=dual.dtype, device=dual.device)
        curvature = torch.einsum("tij,mn->timjn", kernel, identity).reshape(tasks, images * way, images * way)
        ridge = 1e-6 * kernel.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-3)[:, None, None]
        curvature = curvature + ridge * torch.eye(images * way, dtype=dual.dtype, device=dual.device)
        held = torch.diag_embed(1 - free)
        curvature = free[:, :, None] * curvature * free[:, None] + held
        sums = torch.eye(images, dtype=dual.dtype, device=dual.device).repeat_interleave(way, 0)  # image*way image
        sums = free[:, :, None] * sums
        corner = torch.zeros(tasks, images, images, dtype=dual.dtype, device=dual.device)
        system = torch.cat([torch.cat([curvature, sums], 2), torch.cat([sums.transpose(1, 2), corner], 2)], 1)
    slope = (kernel @ dual - wanted).flatten(1) * free
    residual = torch.cat([slope, -dual.sum(2)], 1)
    change: Tensor = torch.linalg.solve(system, -residual)[:, : images * way]
    return dual + (change * free).view_as(dual)


def _onto_simplex(points: Float[Tensor, "*row entry"], total: float) -> Float[Tensor, "*row entry"]:
    """The nearest point of each row that is not negative and sums to `total` (Held, Wolfe & Crowder 1974)."""
    descending = points.sort(-1, descending=True).values
    excess = descending.cumsum(-1) - total
    place = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype, device=points.device)
    last = (descending * place > excess).sum(-1, keepdim=True)
    return (points - excess.gather(-1, last - 1) / last).clamp_min(0)
