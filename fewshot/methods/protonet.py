"""Prototypical Networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning").

A class is the mean of its support embeddings; a query belongs to the nearest mean.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.methods.contract import EmbeddingMethod, Head, Support


class ProtoNet(EmbeddingMethod):
    """Nearest class mean under the squared Euclidean distance, in a learned embedding (equations 1 and 2)."""

    def compare(
        self, support: Float[Tensor, "task way shot feature"], query: Float[Tensor, "task queries feature"]
    ) -> Float[Tensor, "task queries way"]:
        return -squared_distance(query, support.mean(2))

    def fit(self, support: Support) -> Head:
        embedded = self.embed(torch.cat(list(support))).split([len(images) for images in support])
        return Head(len(support), {"prototypes": torch.stack([of_class.mean(0) for of_class in embedded])})

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        return -squared_distance(self.embed(query), head.tensors["prototypes"])


def squared_distance(
    a: Float[Tensor, "*batch a feature"], b: Float[Tensor, "*batch b feature"]
) -> Float[Tensor, "*batch a b"]:
    """Squared Euclidean distances by the expanded square, in float32 and never below 0."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        product = a @ b.transpose(-1, -2)
        return (a.square().sum(-1)[..., :, None] - 2 * product + b.square().sum(-1)[..., None, :]).clamp_min(0)
