"""Auto: the head that wins on validation episodes of these very images, of those that people use on fixed embeddings.

No head is best everywhere: of one image a class a nearest mean is hard to beat, of five a linear classifier often wins.
Nothing is learned but the choice, which is made on classes that are in no test.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.methods.base import Choice, Method, MethodContext
from fewshot.methods.embedding import EmbeddingMethod
from fewshot.settings.base import MethodSettings
from fewshot.settings.plugins import find

HEADS: tuple[dict[str, Any], ...] = (
    {"name": "nearest_mean"},
    {"name": "nearest_mean", "centre": "train"},
    {"name": "nearest_mean", "distance": "euclid", "scale": 0.05},
    {"name": "ridge"},
    {"name": "logistic"},
    {"name": "svm"},
    {"name": "knn"},
    {"name": "tip_adapter"},
)
"""The heads that are compared; the first one is used where there are no validation classes to choose by."""


class Auto(EmbeddingMethod):
    """Several heads on one backbone, of which one answers: the best on validation episodes, or else the first."""

    Settings: ClassVar = MethodSettings

    def __init__(self, backbone: Backbone, heads: Sequence[EmbeddingMethod]) -> None:
        super().__init__(backbone)
        self.heads = nn.ModuleList(heads)
        self.chosen: Tensor
        self.register_buffer("chosen", torch.tensor(0))

    @classmethod
    def build(cls, context: MethodContext) -> "Auto":
        heads = []
        for values in HEADS:
            kind = find("method", values["name"])
            of_head = kind.Settings.model_validate(values)
            heads.append(kind.build(context._replace(backbone=_Embedded(context.backbone), settings=of_head)))
        return cls(context.backbone, heads)

    @property
    def has_statistics(self) -> bool:
        return any(head.has_statistics for head in self._heads())

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        embedded = self.embed(images)[..., None, None]
        for head in self._heads():
            if head.has_statistics:
                head.update_statistics(embedded)

    def choose(self, measure: Callable[[Method], Float64[np.ndarray, "episode"]]) -> None:
        choices = []
        for place, values in enumerate(HEADS):
            self.chosen.fill_(place)
            choices.append(Choice(_in_words(values), measure(self)))
        self.choices = tuple(choices)
        means = [float(choice.accuracies.mean()) for choice in choices]
        self.chosen.fill_(max(range(len(means)), key=means.__getitem__))

    def adapt(self, support: Float[Tensor, "task image *feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return self._answering().adapt(support, shots)

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query *feature"]
    ) -> Float[Tensor, "task query way"]:
        return self._answering().classify(adapted, query)

    def _answering(self) -> EmbeddingMethod:
        return self._heads()[int(self.chosen)]

    def _heads(self) -> list[EmbeddingMethod]:
        return [head for head in self.heads if isinstance(head, EmbeddingMethod)]


class _Embedded(Backbone):
    """Stands for a backbone that has embedded the images already, so that the heads have no copy of it."""

    averages = True

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.map_shape = (backbone.out_features, 1, 1)

    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        return images


def _in_words(values: dict[str, Any]) -> str:
    rest = ", ".join(f"{key}={value}" for key, value in values.items() if key != "name")
    return f"{values['name']} ({rest})" if rest else str(values["name"])
