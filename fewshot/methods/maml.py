"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation").

Learns initial weights from which a few gradient steps on a task's support set make a good classifier for it.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewshot.config import MAMLSettings
from fewshot.data.images import EpisodeBatch
from fewshot.methods.contract import BatchNorm, Head, Method, Outcome, Support, outcome
from fewshot.methods.inner_loop import full_precision, gradient_descent

Weights = dict[str, Tensor]


class MAML(Method):
    """MAML (algorithm 2) and its first-order approximation (section 5.2, end).

    Batch normalisation uses the statistics of the batch at hand in training, as in the authors' code: a query is
    normalised together with the other queries of its task. At test the same weights can be used that way
    (transductive), or with the statistics of the support set under the adapted weights (inductive), as a served
    classifier must.

    The linear layer has one row for each class of training. A task with fewer classes takes the first rows, one with
    more takes them again from the start; the paper has no such case.
    """

    tasks_at_once = 8

    def __init__(self, backbone: nn.Module, features: int, way: int, settings: MAMLSettings) -> None:
        """`features` is the width of the backbone's embedding, `way` that of the training episodes."""
        super().__init__()
        self.network = nn.Sequential(backbone, nn.Linear(features, way))
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0  # a pass in training mode leaves exactly its own statistics in the buffers
        self.settings = settings
        both: tuple[BatchNorm, ...] = ("inductive", "transductive")
        self.batch_norm_modes = both if settings.batch_norm == "inductive" else both[::-1]

    def loss(self, batch: EpisodeBatch) -> Outcome:
        logits = torch.stack(
            [
                self._forward(self._adapt(support.unbind(), self.settings.inner_steps, meta=True), query.flatten(0, 1))
                for support, query in zip(batch.support, batch.query, strict=True)
            ]
        )
        return outcome(logits, batch)

    def logits(self, batch: EpisodeBatch, batch_norm: BatchNorm) -> Float[Tensor, "task queries way"]:
        return torch.stack(
            [
                self._answer(self._learn(support.unbind()), query.flatten(0, 1), batch_norm)
                for support, query in zip(batch.support, batch.query, strict=True)
            ]
        )

    def fit(self, support: Support) -> Head:
        return Head(len(support), self._learn(support))

    def predict(self, head: Head, query: Float[Tensor, "query channel height width"]) -> Float[Tensor, "query way"]:
        return self._answer(head.tensors, query, self.batch_norm_modes[0])

    def _learn(self, support: Support) -> Weights:
        """Adapted weights, and in the batch-norm buffers the support set's statistics under them."""
        with torch.enable_grad():
            weights = self._adapt(support, self.settings.inner_steps_test, meta=False)
        buffers = self._fresh_buffers()
        with torch.no_grad():
            self.network.train()
            functional_call(self.network, (weights, buffers), torch.cat(list(support)))
        return {name: tensor.detach() for name, tensor in (weights | buffers).items()}

    def _answer(self, learned: Weights, query: Tensor, batch_norm: BatchNorm) -> Float[Tensor, "query way"]:
        if batch_norm == "transductive":
            return self._forward(learned, query)
        self.network.eval()
        logits: Tensor = functional_call(self.network, learned, query)
        return full_precision(logits)

    def _adapt(self, support: Support, steps: int, meta: bool) -> Weights:
        """The inner loop (equation 1). `meta` keeps the way back to the initial weights, for the outer gradient."""
        images = torch.cat(list(support))
        labels = _labels(support)
        start = self._initial(len(support))
        if not meta:
            start = {name: weight.detach().requires_grad_() for name, weight in start.items()}

        def support_loss(weights: Weights) -> Tensor:
            return cross_entropy(self._forward(weights, images), labels)

        second_order = meta and self.settings.order == "second"
        return gradient_descent(support_loss, start, self.settings.inner_learning_rate, steps, second_order)

    def _forward(self, weights: Weights, images: Tensor) -> Float[Tensor, "image way"]:
        """Logits under batch statistics; the running ones are throwaway copies, never shared between tasks."""
        self.network.train()
        logits: Tensor = functional_call(self.network, self._fresh_buffers() | weights, images)
        return full_precision(logits)

    def _initial(self, way: int) -> Weights:
        weights = dict(self.network.named_parameters())
        rows = torch.arange(way, device=weights["1.bias"].device) % len(weights["1.bias"])
        return weights | {"1.weight": weights["1.weight"][rows], "1.bias": weights["1.bias"][rows]}

    def _fresh_buffers(self) -> Weights:
        return {name: buffer.clone() for name, buffer in self.network.named_buffers()}


def _labels(support: Support) -> Int64[Tensor, "image"]:
    counts = torch.tensor([len(images) for images in support])
    return torch.arange(len(support)).repeat_interleave(counts).to(support[0].device)
