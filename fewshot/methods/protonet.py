"""Prototypical Networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning").

A class is the mean of its support embeddings; a query belongs to the nearest mean.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from fewshot.methods.embedding import EmbeddingMethod, class_means


class ProtoNet(EmbeddingMethod):
    """Nearest class mean under the squared Euclidean distance, in a learned embedding (equations 1 and 2)."""

    is_static = True

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return {"prototypes": class_means(support, shots)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        return -squared_distance(query, adapted["prototypes"])


def squared_distance(
    a: Float[Tensor, "*batch a feature"], b: Float[Tensor, "*batch b feature"]
) -> Float[Tensor, "*batch a b"]:
    """Squared Euclidean distances by the expanded square, never below 0."""
    product = a @ b.transpose(-1, -2)
    return (a.square().sum(-1)[..., :, None] - 2 * product + b.square().sum(-1)[..., None, :]).clamp_min(0)
