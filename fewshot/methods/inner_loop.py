"""Methods that learn a task by gradient steps from common initial weights: the inner loop of MAML, algorithm 2.

Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks". A method of this kind
says how a gradient becomes an update (`inner_optimizer`) and, where it differs from MAML, which loss an inner step
descends (`inner_loss`), which weights it moves (`is_adapted`) and where they begin (`start`).
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods import stacked_network as stack
from fewshot.methods.base import (
    BatchNorm,
    Head,
    LossAndAccuracy,
    Method,
    MethodContext,
    Support,
    labels_of,
    loss_and_accuracy,
)
from fewshot.methods.descent import GradientOrder, InnerLoss, Update, descend, last
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.stacked_network import Images, StackedNetwork, Weights


class InnerLoop(Method):
    """A network of backbone and linear head whose initial weights are meta-learned.

    Batch normalisation uses the statistics of the batch at hand in training, as in the code of MAML's authors: a query
    is normalised together with the other queries of its task. At test time the same weights can be used that way
    (transductive), or with the statistics of the support set under the adapted weights (inductive), as a served
    classifier must.

    The linear layer has one row for each class of training. A task with fewer classes takes the first rows, one with
    more takes them again from the start; no paper has such a case. Which class takes which row is chance, and the
    adapted network depends on it. At test time a task may be learned `method.ensemble` times, each time from another
    first row, and the probabilities averaged (Ye & Chao 2022, "How to train your MAML to excel in few-shot
    classification").
    """

    Settings: ClassVar = InnerLoopSettings

    def __init__(self, backbone: Backbone, way: int, settings: InnerLoopSettings) -> None:
        """`way` is that of the training episodes.

        Raises UsageError when tasks are to be grouped but the backbone has layers that can't, or when members of the
        ensemble would be alike.
        """
        if settings.ensemble > way:
            raise UsageError(
                f"method.ensemble={settings.ensemble}, but a head of {way} rows (the way of train.episode) can be "
                f"moved on {way} times at most"
            )
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_features, way)
        self.network = StackedNetwork(backbone, groups=settings.backend != "loop")
        if settings.backend == "grouped" and not self.network.groups:
            raise UsageError("method.backend=grouped: this backbone has layers that compute one task only; use loop")
        # torch has one random generator for all threads, whose numbers would go to whichever comes first.
        self.parts_are_independent = not backbone.is_random
        self.is_static = type(self).is_static and settings.order != "annealed"
        both: tuple[BatchNorm, ...] = ("inductive", "transductive")
        self.batch_norm_modes = both if settings.batch_norm == "inductive" else both[::-1]

    @classmethod
    def build(cls, context: MethodContext) -> "InnerLoop":
        return cls(context.backbone, context.way, context.settings)  # type: ignore[arg-type]

    # The algorithm: what a method of this family may change.

    @abstractmethod
    def inner_optimizer(self, tasks: int, rows: Int64[Tensor, "way"]) -> Update:
        """The rule by which a stack of tasks moves in one inner loop; their classes take these rows of the head."""

    def inner_loss(self, start: Weights, images: Images, labels: Int64[Tensor, "image"]) -> InnerLoss:
        """The loss of the support set, given the weights before the first step."""
        return lambda weights, step: self.support_loss(self.classify(start | weights, images, step), labels)

    def is_adapted(self, name: str) -> bool:
        """True for a parameter that the inner loop moves; it leaves a frozen backbone."""
        return self.get_parameter(name).requires_grad

    def start(self, images: Images, labels: Int64[Tensor, "image"], rows: Int64[Tensor, "way"]) -> Weights:
        """The weights before the first step, of each task: here the same for all."""
        shared = self.network_parameters().items()
        return {name: stack.stacked(self.for_rows(name, weight, rows), len(images)) for name, weight in shared}

    def adapt(
        self,
        images: Images,
        labels: Int64[Tensor, "image"],
        way: int,
        steps: int,
        order: GradientOrder,
        first_row: int = 0,
    ) -> Iterator[Weights]:
        """The inner loop on each task's support set (lines 5 to 8): the weights before it, then after each step."""
        rows = self.rows_of_classes(way, first_row)
        start = self.start(images, labels, rows)
        if order == "none":
            start = {name: weight.detach() for name, weight in start.items()}
        adapted = {name: weight for name, weight in start.items() if self.is_adapted(name)}
        loss, update = self.inner_loss(start, images, labels), self.inner_optimizer(len(images), rows)
        return (start | weights for weights in descend(loss, adapted, update, steps, order))

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """Cross-entropy of the queries under the adapted weights (line 10)."""
        logits, steps = [], self.settings.inner_steps
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            adapted = last(self.adapt(*stack.flat(part.support), steps, self.order(fraction_done)))
            logits += [self.classify(*some, steps) for some in stack.in_parts(adapted, part.query.flatten(1, 2))]
        return loss_and_accuracy(torch.cat(logits), batch)

    def classify(
        self, weights: Weights, images: Images, step: int, batch_statistics: bool = True
    ) -> Float[Tensor, "task image way"]:
        """Logits of each task's images under its own weights, after `step` inner steps."""
        return stack.linear(weights, self.features(weights, images, step, batch_statistics))

    def features(
        self, weights: Weights, images: Images, step: int, batch_statistics: bool = True
    ) -> Float[Tensor, "task image feature"]:
        """Embeddings of each task's images under its own weights, after `step` inner steps."""
        return self.network.features(weights, images, self.training, batch_statistics)

    def support_loss(self, logits: Float[Tensor, "task image way"], labels: Int64[Tensor, "image"]) -> Tensor:
        """The sum over tasks of the mean cross-entropy of their support sets.

        In a mean, each class contributes 1 / way. With `scale_to_way` it contributes as much as it did in training.
        """
        loss, trained = stack.sum_of_task_losses(logits, labels), self.head.out_features
        if self.settings.scale_to_way and logits.shape[-1] != trained:
            loss = loss * (logits.shape[-1] / trained)
        return loss

    # Test time.

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            queries = part.query.flatten(1, 2)
            members = [
                torch.cat([self.classify_queries(*some, batch_norm) for some in stack.in_parts(adapted, queries)])
                for adapted in self.adapted_copies(*stack.flat(part.support), batch_norm)
            ]
            logits.append(stack.log_mean_probability(members))
        return torch.cat(logits)

    def fit(self, support: Support) -> Head:
        labels = labels_of([len(images) for images in support], support[0].device)
        copies = self.adapted_copies(torch.cat(list(support))[None], labels, len(support), self.batch_norm_modes[0])
        tensors = {f"{place}.{name}": t for place, adapted in enumerate(copies) for name, t in adapted.items()}
        return Head(type(self).__name__, len(support), tensors)

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        copies: dict[str, Weights] = {}
        for key, tensor in head.tensors_for(self).items():
            place, _, name = key.partition(".")
            copies.setdefault(place, {})[name] = tensor
        mode = self.batch_norm_modes[0]
        return stack.log_mean_probability([self.classify_queries(one, query[None], mode) for one in copies.values()])[0]

    def adapted_copies(
        self, support: Images, labels: Int64[Tensor, "image"], way: int, batch_norm: BatchNorm
    ) -> Iterator[Weights]:
        """The adapted weights of each member of the ensemble."""
        members, rows = self.settings.ensemble, self.head.out_features
        return (self.adapted(support, labels, way, batch_norm, member * rows // members) for member in range(members))

    def adapted(
        self, support: Images, labels: Int64[Tensor, "image"], way: int, batch_norm: BatchNorm, first_row: int = 0
    ) -> Weights:
        """Adapted weights; for inductive use also batch-norm buffers with the support set's statistics under them."""
        steps = self.settings.inner_steps_test
        weights = last(self.adapt(support, labels, way, steps, "none", first_row))
        weights = {name: weight.detach() for name, weight in weights.items()}
        if batch_norm == "inductive":
            weights |= self.network.fresh_buffers(len(support))
            with torch.no_grad():
                self.features(weights, support, steps)  # which leaves the statistics in the buffers
        return weights

    def classify_queries(
        self, weights: Weights, query: Images, batch_norm: BatchNorm
    ) -> Float[Tensor, "task query way"]:
        """Logits of queries under adapted weights."""
        return self.classify(weights, query, self.settings.inner_steps_test, batch_norm == "transductive")

    # Parameters and limits.

    def network_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the network that learns the tasks, without those that only the outer loop knows."""
        return {name: weight for name, weight in self.named_parameters() if name.startswith(("backbone.", "head."))}

    def rows_of_classes(self, way: int, first_row: int) -> Int64[Tensor, "way"]:
        """The row of the head that each class takes."""
        rows = self.head.out_features
        return (first_row + torch.arange(way, device=self.head.bias.device)) % rows

    def for_rows(self, name: str, tensor: Tensor, rows: Int64[Tensor, "way"]) -> Tensor:
        """A parameter, or something of its shape, as a task with these rows has it."""
        return tensor[rows] if name.startswith("head.") else tensor

    def order(self, fraction_done: float) -> GradientOrder:
        """The order of the meta-gradient at this point of the training."""
        settings = self.settings
        early = settings.order == "annealed" and fraction_done < settings.first_order_share
        return "first" if settings.order == "first" or early else "second"

    def tasks_at_once(self, images_of_a_task: int) -> int:
        return self.network.tasks_at_once(images_of_a_task)
