"""What all methods share that learn a task by gradient steps from common initial weights.

A method of this kind is an inner loop: where it starts, how a gradient becomes an update, how many steps. Everything
else is here: tasks side by side, batch normalisation, test time.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from fewshot.backbones.base import Backbone
from fewshot.backbones.fast.grouped_layers import computes_groups
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import BatchNorm, Head, LossAndAccuracy, Method, Support, labels_of, loss_and_accuracy
from fewshot.methods.stacked_tasks import Images, Weights, averaged, flat, in_parts, linear, loss_of_tasks
from fewshot.settings.methods import InnerLoopSettings

Update = Callable[[Weights, Weights, int], Weights]
"""(weights, gradients of the same names, step counted from 0) -> the weights after that step."""

TASKS_SIDE_BY_SIDE, IMAGES_SIDE_BY_SIDE = 8, 640
"""At most so many tasks are learned side by side, and tasks of so many images: their activations are kept together."""


class InnerLoop(Method):
    """A network of backbone and linear head whose initial weights are meta-learned.

    Batch normalisation uses the statistics of the batch at hand in training, as in the code of MAML's authors: a query
    is normalised together with the other queries of its task. At test the same weights can be used that way
    (transductive), or with the statistics of the support set under the adapted weights (inductive), as a served
    classifier must.

    The linear layer has one row for each class of training. A task with fewer classes takes the first rows, one with
    more takes them again from the start; no paper has such a case. Which class takes which row is chance, and the
    adapted network depends on it. At test a task may be learned `method.ensemble` times, the rows moved on each time,
    and the probabilities averaged (Ye & Chao 2022, "How to train your MAML to excel in few-shot classification").

    Tasks are learned side by side, as channel groups of one network: see `fewshot.backbones.fast.grouped_layers`.
    """

    def __init__(self, backbone: Backbone, way: int, settings: InnerLoopSettings) -> None:
        """`way` is that of the training episodes.

        Raises UsageError when tasks shall be grouped, but the backbone has layers that can't, or when the ensemble
        would have members that are alike.
        """
        if settings.ensemble > way:
            raise UsageError(
                f"method.ensemble={settings.ensemble}, but a head of {way} rows (the way of train.episode) can be "
                f"moved on {way} times at most"
            )
        super().__init__()
        if settings.backend == "grouped" and not computes_groups(backbone):
            raise UsageError("method.backend=grouped: this backbone has layers that compute one task only; use loop")
        # torch has one random generator for all threads, whose numbers would go to whoever comes first.
        self.parts_are_independent = not backbone.is_random
        self.grouped = settings.backend != "loop" and computes_groups(backbone)
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_features, way)
        self._first_row = 0  # of the head; the first class of a task takes it
        frozen = not any(parameter.requires_grad for parameter in backbone.parameters())
        norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
        self._norms = [] if frozen else norms
        for norm in norms:
            norm.momentum = 1.0  # a pass in training mode leaves exactly its own statistics in the buffers
        self.settings = settings
        both: tuple[BatchNorm, ...] = ("inductive", "transductive")
        self.batch_norm_modes = both if settings.batch_norm == "inductive" else both[::-1]

    @abstractmethod
    def inner_optimizer(self, tasks: int) -> Update:
        """How so many tasks move from step to step in one inner loop, which this begins."""

    def start(self, images: Images, labels: Int64[Tensor, "image"], way: int) -> Weights:
        """The weights before the first step, of each task: here the same for all."""
        return {
            name: self.stacked(name, weight, len(images), way) for name, weight in self.network_parameters().items()
        }

    def network_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the network that learns the tasks, without those that only the outer loop knows."""
        return {name: weight for name, weight in self.named_parameters() if name.startswith(("backbone.", "head."))}

    def is_adapted(self, name: str) -> bool:
        """Whether the inner loop changes these weights; those of a frozen backbone it leaves."""
        return self.get_parameter(name).requires_grad

    def tasks_at_once(self, images_of_a_task: int) -> int:
        if not self.grouped:
            return 1
        return max(1, min(TASKS_SIDE_BY_SIDE, IMAGES_SIDE_BY_SIDE // images_of_a_task))

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """Cross-entropy of the queries under the adapted weights (MAML, algorithm 2, line 10)."""
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            images, labels = flat(part.support)
            adapted = last(self.adapt(images, labels, self.settings.inner_steps, self.order(fraction_done)))
            queries = part.query.flatten(1, 2)
            logits += [self.classify(*some, self.settings.inner_steps) for some in in_parts(adapted, queries)]
        return loss_and_accuracy(torch.cat(logits), batch)

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            queries = part.query.flatten(1, 2)
            members = [
                torch.cat([self._answer(*some, batch_norm) for some in in_parts(learned, queries)])
                for learned in self._members(*flat(part.support), batch_norm)
            ]
            logits.append(averaged(members))
        return torch.cat(logits)

    def fit(self, support: Support) -> Head:
        labels = labels_of([len(images) for images in support], support[0].device)
        members = self._members(torch.cat(list(support))[None], labels, self.batch_norm_modes[0])
        tensors = {f"{place}.{name}": t for place, learned in enumerate(members) for name, t in learned.items()}
        return Head(len(support), tensors)

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        members: list[Weights] = [{} for _ in range(self.settings.ensemble)]
        for key, tensor in head.tensors.items():
            place, _, name = key.partition(".")
            members[int(place)][name] = tensor
        return averaged([self._answer(learned, query[None], self.batch_norm_modes[0]) for learned in members])[0]

    def order(self, fraction_done: float) -> int:
        """1 where the meta-gradient takes the inner gradients as constants, 2 where it goes through them."""
        settings = self.settings
        early = settings.order == "annealed" and fraction_done < settings.first_order_share
        return 1 if settings.order == "first" or early else 2

    def adapt(self, images: Images, labels: Int64[Tensor, "image"], steps: int, order: int) -> Iterator[Weights]:
        """The inner loop on each task's support set: the weights before it, then after each step.

        `order` is that of `descend`.
        """
        start = self.start(images, labels, int(labels[-1]) + 1)
        adapted = {name: weight for name, weight in start.items() if self.is_adapted(name)}

        def support_loss(weights: Weights, step: int) -> Tensor:
            return self.support_loss(self.classify(start | weights, images, step), labels)

        path = descend(support_loss, adapted, self.inner_optimizer(len(images)), steps, order)
        return (start | weights for weights in path)

    def support_loss(self, logits: Float[Tensor, "task image way"], labels: Int64[Tensor, "image"]) -> Tensor:
        """What an inner step descends: the sum over tasks of the mean cross-entropy of their support sets.

        In a mean, a class counts one part in `way`. With `scale_to_way` it counts as much as it did in training.
        """
        loss = loss_of_tasks(logits, labels)
        trained = self.head.out_features
        if self.settings.scale_to_way and logits.shape[-1] != trained:
            loss = loss * (logits.shape[-1] / trained)
        return loss

    def classify(
        self, tensors: Weights, images: Images, step: int, batch_statistics: bool = True
    ) -> Float[Tensor, "task image way"]:
        """Logits of each task's images under its own weights, after `step` inner steps."""
        return linear(tensors, self.features(tensors, images, step, batch_statistics))

    def features(
        self, tensors: Weights, images: Images, step: int, batch_statistics: bool = True
    ) -> Float[Tensor, "task image feature"]:
        """Embeddings of each task's images. Batch statistics are left in buffers that are given."""
        self.backbone.train(self.training)  # what drops something at random does so in training only
        for norm in self._norms:
            norm.train(batch_statistics)
        if batch_statistics:
            tensors = self.fresh_buffers(len(images)) | tensors
        of_backbone = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
        side_by_side = images.transpose(0, 1).flatten(1, 2)  # image, task x channel, height, width
        features: Tensor = functional_call(self.backbone, of_backbone, side_by_side)
        of_task: Tensor = features.unflatten(1, (len(images), -1)).transpose(0, 1)
        return of_task

    def stacked(self, name: str, tensor: Tensor, tasks: int, way: int) -> Tensor:
        """What all tasks share, once for each of them; of the head's rows as many as the task has classes."""
        if name.startswith("head."):
            tensor = tensor[(self._first_row + torch.arange(way, device=tensor.device)) % len(tensor)]
        return torch.cat([tensor] * tasks)

    def fresh_buffers(self, tasks: int) -> Weights:
        """Copies of the running statistics, to be thrown away: tasks never share them."""
        buffers = {f"backbone.{name}": buffer for name, buffer in self.backbone.named_buffers()}
        return {name: torch.cat([b] * tasks) if b.dim() else b.clone() for name, b in buffers.items()}

    def _members(self, support: Images, labels: Int64[Tensor, "image"], batch_norm: BatchNorm) -> Iterator[Weights]:
        """What is learned from a support set, for each member of the ensemble."""
        try:
            for place in range(self.settings.ensemble):
                self._first_row = place * self.head.out_features // self.settings.ensemble
                yield self._learn(support, labels, batch_norm)
        finally:
            self._first_row = 0

    def _learn(self, support: Images, labels: Int64[Tensor, "image"], batch_norm: BatchNorm) -> Weights:
        """Adapted weights; for inductive use also batch-norm buffers with the support set's statistics under them."""
        learned = last(self.adapt(support, labels, self.settings.inner_steps_test, order=0))
        learned = {name: weight.detach() for name, weight in learned.items()}
        if batch_norm == "inductive":
            learned |= self.fresh_buffers(len(support))
            with torch.no_grad():
                self.features(learned, support, self.settings.inner_steps_test)
        return learned

    def _answer(self, learned: Weights, query: Images, batch_norm: BatchNorm) -> Float[Tensor, "task query way"]:
        return self.classify(learned, query, self.settings.inner_steps_test, batch_norm == "transductive")


def descend(
    loss: Callable[[Weights, int], Tensor],
    weights: Weights,
    update: Update,
    steps: int,
    order: int,
) -> Iterator[Weights]:
    """The weights before, then after each of `steps` updates by the gradient of `loss(weights, step)`.

    Of order 2 they depend on the first weights through the updates and the gradients, of order 1 through the updates
    alone (the first-order approximation of Finn et al. 2017, section 5.2), of order 0 not at all.
    """
    if order == 0:
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    yield weights
    for step in range(steps):
        with torch.enable_grad():
            # Nodes of their own: where one of the first weights is made from others, each still counts by itself.
            at = {name: weight.view_as(weight) for name, weight in weights.items()}
            value = loss(at, step)
        gradients = torch.autograd.grad(value, list(at.values()), create_graph=order == 2, materialize_grads=True)
        named = dict(zip(weights, gradients, strict=True))
        with torch.set_grad_enabled(order > 0):
            weights = update(weights, named, step)
        if order == 0:
            weights = {name: weight.requires_grad_() for name, weight in weights.items()}
        yield weights


def last(path: Iterable[Weights]) -> Weights:
    """The weights after the last step; those before it are let go on the way."""
    return deque(path, maxlen=1)[0]
