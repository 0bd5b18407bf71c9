"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation").

Learns initial weights from which a few gradient steps on a task's support set make a good classifier for it.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewshot.backbones.layers import computes_groups
from fewshot.config import MAMLSettings
from fewshot.data.images import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.contract import BatchNorm, Head, Method, Outcome, Support, full_precision, outcome
from fewshot.methods.inner_loop import gradient_descent

Weights = dict[str, Tensor]
"""Weights of T tasks, stacked along the first axis: a filter bank of 64 is [64 T, ...]."""

Images = Float[Tensor, "task image channel height width"]

TASKS_SIDE_BY_SIDE, IMAGES_SIDE_BY_SIDE = 8, 640
"""At most so many tasks are learned side by side, and tasks of so many images: their activations are kept together."""

QUERIES_AT_ONCE = 75
"""Side by side pays for support sets, whose kernels are small; more queries at once than these would leave caches."""


class MAML(Method):
    """MAML (algorithm 2) and its first-order approximation (section 5.2, end).

    Batch normalisation uses the statistics of the batch at hand in training, as in the authors' code: a query is
    normalised together with the other queries of its task. At test the same weights can be used that way
    (transductive), or with the statistics of the support set under the adapted weights (inductive), as a served
    classifier must.

    The linear layer has one row for each class of training. A task with fewer classes takes the first rows, one with
    more takes them again from the start; the paper has no such case.

    Tasks are learned side by side, as channel groups of one network: see `fewshot.backbones.layers`.
    """

    parts_are_independent = True

    def __init__(self, backbone: nn.Module, features: int, way: int, settings: MAMLSettings) -> None:
        """`features` is the width of the backbone's embedding, `way` that of the training episodes.

        Raises UsageError when tasks shall be grouped, but the backbone has layers that can't.
        """
        super().__init__()
        if settings.backend == "grouped" and not computes_groups(backbone):
            raise UsageError("method.backend=grouped: this backbone has layers that compute one task only; use loop")
        self.grouped = settings.backend != "loop" and computes_groups(backbone)
        self.backbone = backbone
        self.head = nn.Linear(features, way)
        for layer in self.backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0  # a pass in training mode leaves exactly its own statistics in the buffers
        self.settings = settings
        both: tuple[BatchNorm, ...] = ("inductive", "transductive")
        self.batch_norm_modes = both if settings.batch_norm == "inductive" else both[::-1]

    def tasks_at_once(self, images_of_a_task: int) -> int:
        if not self.grouped:
            return 1
        return max(1, min(TASKS_SIDE_BY_SIDE, IMAGES_SIDE_BY_SIDE // images_of_a_task))

    def loss(self, batch: EpisodeBatch) -> Outcome:
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            adapted = self._adapt(*_flat(part.support), self.settings.inner_steps, meta=True)
            logits += [self._forward(*some) for some in _in_parts(adapted, part.query.flatten(1, 2))]
        return outcome(torch.cat(logits), batch)

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            learned = self._learn(*_flat(part.support), batch_norm)
            logits += [self._answer(*some, batch_norm) for some in _in_parts(learned, part.query.flatten(1, 2))]
        return torch.cat(logits)

    def fit(self, support: Support) -> Head:
        counts = torch.tensor([len(images) for images in support])
        labels = torch.arange(len(support)).repeat_interleave(counts).to(support[0].device)
        return Head(len(support), self._learn(torch.cat(list(support))[None], labels, self.batch_norm_modes[0]))

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        return self._answer(head.tensors, query[None], self.batch_norm_modes[0])[0]

    def _learn(self, support: Images, labels: Int64[Tensor, "image"], batch_norm: BatchNorm) -> Weights:
        """Adapted weights; for inductive use also batch-norm buffers with the support set's statistics under them."""
        with torch.enable_grad():
            learned = self._adapt(support, labels, self.settings.inner_steps_test, meta=False)
        learned = {name: weight.detach() for name, weight in learned.items()}
        if batch_norm == "inductive":
            learned |= self._fresh_buffers(len(support))
            with torch.no_grad():
                self._forward(learned, support)
        return learned

    def _answer(self, learned: Weights, query: Images, batch_norm: BatchNorm) -> Float[Tensor, "task query way"]:
        return self._forward(learned, query, batch_statistics=batch_norm == "transductive")

    def _adapt(self, images: Images, labels: Int64[Tensor, "image"], steps: int, meta: bool) -> Weights:
        """The inner loop (equation 1). `meta` keeps the way back to the initial weights, for the outer gradient."""
        tasks = len(images)
        start = self._initial(tasks, int(labels[-1]) + 1)
        if not meta:
            start = {name: weight.detach().requires_grad_() for name, weight in start.items()}

        def support_loss(weights: Weights) -> Tensor:
            # The sum over tasks, whose gradients don't mix: each task has weights of its own.
            logits = self._forward(weights, images)
            return cross_entropy(logits.flatten(0, 1), labels.repeat(tasks)) * tasks

        second_order = meta and self.settings.order == "second"
        return gradient_descent(support_loss, start, self.settings.inner_learning_rate, steps, second_order)

    def _forward(
        self, tensors: Weights, images: Images, batch_statistics: bool = True
    ) -> Float[Tensor, "task image way"]:
        """Logits of each task's images under its own weights. Batch statistics are left in buffers that are given."""
        self.backbone.train(batch_statistics)
        if batch_statistics:
            tensors = self._fresh_buffers(len(images)) | tensors
        of_backbone = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
        side_by_side = images.transpose(0, 1).flatten(1, 2)  # image, task x channel, height, width
        features: Tensor = functional_call(self.backbone, of_backbone, side_by_side)
        rows, biases = (tensors[name].unflatten(0, (len(images), -1)) for name in ("head.weight", "head.bias"))
        features = features.unflatten(1, (len(images), -1)).transpose(0, 1)
        logits: Tensor = full_precision(features @ rows.transpose(1, 2)) + biases[:, None]
        return logits

    def _initial(self, tasks: int, way: int) -> Weights:
        rows = torch.arange(way, device=self.head.bias.device) % len(self.head.bias)
        weights: Weights = dict(self.named_parameters())
        weights |= {"head.weight": self.head.weight[rows], "head.bias": self.head.bias[rows]}
        return {name: torch.cat([weight] * tasks) for name, weight in weights.items()}

    def _fresh_buffers(self, tasks: int) -> Weights:
        """Copies of the running statistics, to be thrown away: tasks never share them."""
        buffers = {f"backbone.{name}": buffer for name, buffer in self.backbone.named_buffers()}
        return {name: torch.cat([b] * tasks) if b.dim() else b.clone() for name, b in buffers.items()}


def _flat(
    support: Float[Tensor, "task way shot channel height width"],
) -> tuple[Images, Int64[Tensor, "image"]]:
    """The support images of each task in one axis, and the class of each."""
    way, shot = support.shape[1:3]
    return support.flatten(1, 2), torch.arange(way, device=support.device).repeat_interleave(shot)


def _in_parts(weights: Weights, queries: Images) -> list[tuple[Weights, Tensor]]:
    """The tasks' weights and queries in parts of at most QUERIES_AT_ONCE queries, or of one task."""
    total, size = len(queries), max(1, QUERIES_AT_ONCE // queries.shape[1])
    parts = queries.split(size)
    of_parts = {
        # What is no stack, the counter of a batch normalisation, goes to every part.
        name: weight.split([len(weight) // total * len(part) for part in parts]) if weight.dim() else [weight] * total
        for name, weight in weights.items()
    }
    return [({name: of[place] for name, of in of_parts.items()}, part) for place, part in enumerate(parts)]
