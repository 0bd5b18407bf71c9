"""Prototypical Networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning").

A class is the mean of its support embeddings; a query belongs to the nearest mean.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewshot.data.images import EpisodeBatch
from fewshot.methods.contract import BatchNorm, Head, Method, Outcome


class ProtoNet(Method):
    """Nearest class mean under the squared Euclidean distance, in a learned embedding (equations 1 and 2).

    As in the authors' code, support and query of an episode are embedded in one pass, so that batch normalisation in
    training sees both; at test it uses running statistics, so the method is inductive.
    """

    batch_norm_modes = ("inductive",)
    tasks_at_once = 64

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def loss(self, batch: EpisodeBatch) -> Outcome:
        logits = self.logits(batch)
        labels = batch.labels
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
        return Outcome(loss, (logits.argmax(-1) == labels).float().mean())

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm = "inductive") -> Float[Tensor, "task queries way"]:
        shot = batch.support.shape[2]
        together = torch.cat([batch.support, batch.query], dim=2)  # task way shot+query channel height width
        embedded = self.backbone(together.flatten(0, 2)).unflatten(0, together.shape[:3])
        prototypes = embedded[:, :, :shot].mean(2)  # task way feature
        return -squared_distance(embedded[:, :, shot:].flatten(1, 2), prototypes)

    def fit(self, support: Sequence[Float[Tensor, "shot channel height width"]]) -> Head:
        embedded = self.backbone(torch.cat(list(support))).split([len(images) for images in support])
        return Head(len(support), {"prototypes": torch.stack([of_class.mean(0) for of_class in embedded])})

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        return -squared_distance(self.backbone(query), head.tensors["prototypes"])


def squared_distance(
    a: Float[Tensor, "*batch a feature"], b: Float[Tensor, "*batch b feature"]
) -> Float[Tensor, "*batch a b"]:
    """Squared Euclidean distances by the expanded square, in float32 and never below 0."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        product = a @ b.transpose(-1, -2)
        return (a.square().sum(-1)[..., :, None] - 2 * product + b.square().sum(-1)[..., None, :]).clamp_min(0)
