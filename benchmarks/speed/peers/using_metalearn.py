"""parallel-metalearn: MAML and Prototypical Networks, built as in its README's "Minimal Working Example"."""

from itertools import repeat

import torch
from metalearn.algorithms import MAML, PrototypicalNetwork
from metalearn.inner_optimizers import InnerSGD
from metalearn.loss import CategoricalAccuracy, CrossEntropy
from metalearn.model_wrappers import MAML_Model, ProtoNet_Model

from benchmarks.speed import plain
from benchmarks.speed.cases import CHANNELS, Case
from benchmarks.speed.inputs import make_tasks, make_weights


class MetalearnMAMLStep:
    """`MAML.step` with `backend="sequential"`, or `backend="vmap"` and a `chunk_size` (variant "vmap-4").

    Its own BatchNorm, made of elementary operations so that it runs under vmap, is half as fast as torch's; without
    running statistics torch's runs under vmap too, so the network keeps it.
    """

    def __init__(self, case: Case, variant: str) -> None:
        self.tasks, self.weights = case.tasks, make_weights(case)
        self.backend, _, chunk = variant.partition("-")
        network = plain.classifier(case, self.weights)
        self.model = MAML_Model(backbone=network[0], head=network[1]).train()
        inner = InnerSGD(
            initial_fast_weights=self.model.get_fast_weights(),
            inner_lr=case.inner_learning_rate,
            learn_lr=False,
            first_order=False,
        )
        self.algorithm = MAML(
            model=self.model,
            optimizer=torch.optim.Adam(self.model.parameters(), lr=1e-3),
            inner_optimizer=inner,
            support_loss_fn=CrossEntropy(metric_fn=CategoricalAccuracy()),
            inner_steps=case.inner_steps,
            backend=self.backend,
            chunk_size=int(chunk or 1),
            device=torch.device("cpu"),
        )
        self.batches = _batches(case)

    def step(self) -> None:
        self.loss, _ = self.algorithm.step(self.batches)

    def check(self) -> dict[str, float]:
        plain.load(self.model, self.weights)
        self.step()
        # The sequential backend divides the loss that it reports by the number of tasks twice; its gradient is right.
        loss = self.loss * self.tasks if self.backend == "sequential" else self.loss
        return {"loss": loss, "gradient norm": plain.gradient_norm(self.model)}


class MetalearnProtoNetStep:
    """`PrototypicalNetwork.step`; its `Euclidean` is the squared distance.

    Under vmap batch normalisation has no running statistics, because torch's can't update them there.
    """

    def __init__(self, case: Case, variant: str) -> None:
        self.case, self.weights = case, make_weights(case)
        self.algorithm = self._build(variant)
        self.batches = _batches(case)

    def _build(self, variant: str) -> PrototypicalNetwork:
        backend, _, chunk = variant.partition("-")
        backbone = plain.embedding(self.case, self.weights, running_statistics=backend == "sequential")
        model = ProtoNet_Model(backbone=backbone, max_classes=self.case.shape.way, latent_dim=CHANNELS).train()
        return PrototypicalNetwork(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
            loss_fn=CrossEntropy(metric_fn=CategoricalAccuracy()),
            backend=backend,
            chunk_size=int(chunk or 1),
            device=torch.device("cpu"),
        )

    def step(self) -> None:
        self.algorithm.step(self.batches)

    def check(self) -> dict[str, float]:
        """The loss in evaluation mode, of a fresh network with running statistics."""
        fresh = self._build("sequential")
        fresh.model.eval()
        return {"loss": fresh.step(self.batches, training=False)[0]}


def _batches(case: Case) -> repeat:
    """Its loaders yield (support, {"labels"}, query, {"labels"}) of a batch of tasks."""
    tasks = make_tasks(case)
    support_labels, query_labels = {"labels": tasks.support_labels}, {"labels": tasks.query_labels}
    return repeat((tasks.support.flatten(1, 2), support_labels, tasks.query.flatten(1, 2), query_labels))
