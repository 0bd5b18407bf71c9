"""The base of linear classifiers that are fitted to a task's embeddings: as the span of the support set has them.

A linear classifier with a quadratic penalty is a sum of the support embeddings, however long these are. What is fitted
is therefore a number for each support image and class, from the products of the support embeddings alone.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, one_hot
from fewshot.settings.base import MethodSettings

Kernel = Float[Tensor, "task image image"]
Dual = Float[Tensor, "task image way"]


class LinearHeadSettings(MethodSettings):
    """A linear classifier on a task's embeddings."""

    normalize: bool = Field(True, description="give embeddings the length 1 first")


class LinearHead(EmbeddingMethod):
    """A linear classifier without intercept, fitted to the support set of each task."""

    Settings: ClassVar[type[MethodSettings]] = LinearHeadSettings
    scale = 1.0
    """Factor from the classifier's output to logits."""

    def __init__(self, backbone: Backbone, settings: LinearHeadSettings) -> None:
        super().__init__(backbone)
        self.normalizes = settings.normalize

    @classmethod
    def build(cls, context: MethodContext) -> "LinearHead":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    @abstractmethod
    def fit_dual(self, kernel: Kernel, wanted: Dual) -> Dual:
        """The weight of each support embedding in each class's direction.

        `kernel` holds the products of the support embeddings, `wanted` 1 where an image belongs to a class, else 0.
        """

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        inputs = self._treated(support)
        wanted = one_hot(shots, inputs).expand(len(inputs), -1, -1)
        dual = self.fit_dual(inputs @ inputs.transpose(1, 2), wanted)
        return {"weights": inputs.transpose(1, 2) @ dual}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        return self.scale * (self._treated(query) @ adapted["weights"])

    def _treated(self, embedded: Float[Tensor, "task image feature"]) -> Float[Tensor, "task image feature"]:
        return normalize(embedded, dim=-1) if self.normalizes else embedded
