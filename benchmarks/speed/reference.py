"""Our own plain reference: what the papers say, in the plainest torch, with no thought for speed."""

import copy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from benchmarks.speed import plain
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import make_tasks, make_weights


class PlainMAMLStep:
    """Finn et al. 2017, algorithm 2, task by task."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case = case
        self.network = plain.classifier(case, make_weights(case)).train()
        self.fresh = copy.deepcopy(self.network.state_dict())
        self.outer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.tasks = make_tasks(case).flat()

    def step(self) -> None:
        self.outer.zero_grad()
        losses = [self.query_loss(*task) for task in self.tasks]
        loss = torch.stack(losses).mean()
        loss.backward()
        self.outer.step()
        self.loss = float(loss.detach())

    def query_loss(self, support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> Tensor:
        """The loss of one task's queries under its adapted weights."""
        weights: dict[str, Tensor] = dict(self.network.named_parameters())
        for _ in range(self.case.inner_steps):
            loss = cross_entropy(functional_call(self.network, weights, (support,)), support_labels)
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - self.case.inner_learning_rate * gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
        return cross_entropy(functional_call(self.network, weights, (query,)), query_labels)

    def check(self) -> dict[str, float]:
        self.network.load_state_dict(self.fresh)
        self.step()
        return {"loss": self.loss, "gradient norm": plain.gradient_norm(self.network)}


class PlainProtoNetStep:
    """Snell et al. 2017, equations 1 and 2."""

    def __init__(self, case: Case, variant: str) -> None:
        self.network = plain.embedding(case, make_weights(case))
        self.outer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        tasks = make_tasks(case)
        self.support, self.query, self.labels = tasks.support[0], tasks.query[0], tasks.query_labels[0]
        self.fresh = copy.deepcopy(self.network.state_dict())

    def step(self) -> None:
        self.network.train()
        self.outer.zero_grad()
        self._loss().backward()
        self.outer.step()

    def check(self) -> dict[str, float]:
        self.network.load_state_dict(self.fresh)
        self.network.eval()
        with torch.no_grad():
            return {"loss": float(self._loss())}

    def _loss(self) -> Tensor:
        way, shot = self.support.shape[:2]
        embedded = self.network(torch.cat([self.support.flatten(0, 1), self.query.flatten(0, 1)]))
        prototypes = embedded[: way * shot].unflatten(0, (way, shot)).mean(1)
        squared_distances = (embedded[way * shot :, None] - prototypes).square().sum(-1)
        return cross_entropy(-squared_distances, self.labels)
