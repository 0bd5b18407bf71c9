"""Baseline and Baseline++ (Chen et al. 2019, "A closer look at few-shot classification"): a new last layer."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import one_hot
from fewshot.methods.supervised import Supervised
from fewshot.settings.base import MethodSettings

COSINE_SCALE = 10.0
"""Factor from cosines to logits."""


class FineTuneSettings(MethodSettings):
    """Baseline and Baseline++ (Chen et al. 2019): a new last layer for each task."""

    steps: int = Field(100, ge=0, description="gradient steps on a task's support set")
    learning_rate: float = Field(0.01, gt=0, description="of these steps")


class FineTuned(Supervised):
    """The fine-tuning stage (section 3.2).

    For each task a new last layer is trained on the support set while the embedding stays. It starts where it favours
    no class (from zero, or in Baseline++ from the mean of the support set) and sees the whole support set in each
    step, where the authors start at random and take four images at a time: the same task then always gives the same
    answer, and the order of classes and images can't matter.
    """

    Settings: ClassVar = FineTuneSettings

    def __init__(self, backbone: Backbone, classifier: nn.Module, settings: FineTuneSettings) -> None:
        super().__init__(backbone, classifier)
        self.settings = settings

    @classmethod
    def build(cls, context: MethodContext) -> "FineTuned":
        return cls(context.backbone, context.classes, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        wanted = one_hot(shots, support)
        learned = [start.requires_grad_() for start in self._start(support.detach(), len(shots))]
        inputs = support.detach()
        momenta = [torch.zeros_like(weight) for weight in learned]
        for _ in range(self.settings.steps):
            with torch.enable_grad():
                logits = self._logits(learned, inputs)
                loss = -(wanted * logits.log_softmax(-1)).sum() / len(wanted)  # summed over tasks, which don't mix
            gradients = torch.autograd.grad(loss, learned)
            with torch.no_grad():
                for weight, gradient, momentum in zip(learned, gradients, momenta, strict=True):
                    # SGD as in the authors' code: momentum 0.9, dampening 0.9, weight decay 0.001.
                    momentum.mul_(0.9).add_(gradient + 0.001 * weight, alpha=0.1)
                    weight.sub_(momentum, alpha=self.settings.learning_rate)
        return {f"layer.{place}": weight.detach() for place, weight in enumerate(learned)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        return self._logits([adapted[name] for name in sorted(adapted)], query)

    @abstractmethod
    def _start(self, support: Float[Tensor, "task image feature"], way: int) -> list[Tensor]:
        """The layer's weights before the first step."""

    @abstractmethod
    def _logits(self, layer: list[Tensor], embedded: Float[Tensor, "task image feature"]) -> Tensor:
        """The logits of a layer."""


class Baseline(FineTuned):
    """A linear layer, both for all training classes and for a task."""

    def __init__(self, backbone: Backbone, classes: int, settings: FineTuneSettings) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, classes), settings)

    def _start(self, support: Float[Tensor, "task image feature"], way: int) -> list[Tensor]:
        tasks, _, features = support.shape
        return [support.new_zeros(tasks, way, features), support.new_zeros(tasks, way)]

    def _logits(self, layer: list[Tensor], embedded: Float[Tensor, "task image feature"]) -> Tensor:
        weights, biases = layer
        return embedded @ weights.transpose(1, 2) + biases[:, None]


class BaselinePlusPlus(FineTuned):
    """Scaled cosines with one vector a class, both for all training classes and for a task."""

    def __init__(self, backbone: Backbone, classes: int, settings: FineTuneSettings) -> None:
        super().__init__(backbone, CosineLinear(backbone.out_features, classes), settings)

    def _start(self, support: Float[Tensor, "task image feature"], way: int) -> list[Tensor]:
        return [normalize(support.mean(1, keepdim=True), dim=-1).repeat(1, way, 1)]

    def _logits(self, layer: list[Tensor], embedded: Float[Tensor, "task image feature"]) -> Tensor:
        [directions] = layer
        return COSINE_SCALE * normalize(embedded, dim=-1) @ normalize(directions, dim=-1).transpose(1, 2)


class CosineLinear(nn.Module):
    """A last layer whose logits are scaled cosines with one vector for each class."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features))

    def forward(self, embedded: Float[Tensor, "image feature"]) -> Float[Tensor, "image class"]:
        return COSINE_SCALE * normalize(embedded, dim=-1) @ normalize(self.weight, dim=-1).T
