"""What a meta-learner must say for itself. Everything else (training, evaluation, serving) is written against this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from fewshot.data.images import EpisodeBatch

BatchNorm = Literal["inductive", "transductive"]
"""Inductive: the answer to one query does not depend on the others. Transductive: their statistics are shared."""


class Outcome(NamedTuple):
    """What one batch of episodes taught, averaged over its tasks."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


@dataclass(frozen=True)
class Head:
    """A task that was learned: plain tensors, to be saved, moved or compared. Only its method can read them."""

    way: int
    tensors: dict[str, Tensor]


class Method(nn.Module):
    """A meta-learner: its parameters are what all tasks share."""

    batch_norm_modes: tuple[BatchNorm, ...]
    """The ways it can treat queries at test; the first is the one that its heads are used with."""
    tasks_at_once: int
    """How many tasks' graphs fit in memory together; the trainer accumulates gradients over such parts of a batch."""

    def loss(self, batch: EpisodeBatch) -> Outcome:
        """The training loss, differentiable in the parameters: the mean over the batch's tasks."""
        raise NotImplementedError

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        """Learn each task from its support set and answer its queries (way and query flattened, in this order)."""
        raise NotImplementedError

    def fit(self, support: Sequence[Float[Tensor, "shot channel height width"]]) -> Head:
        """Learn one task from a support set: one tensor for each class, with one or more images each."""
        raise NotImplementedError

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        """Logits of each query for the classes of a learned task."""
        raise NotImplementedError
