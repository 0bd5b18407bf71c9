"""higher: MAML with `innerloop_ctx`, as its README and its MAML example use it."""

import higher
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.speed import plain
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import make_tasks, make_weights
from benchmarks.speed.peers.episodes import stored_episode, stored_tasks


class HigherStep:
    """The MAML example: for each task an inner loop with `copy_initial_weights=False`, then a backward pass."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case = case
        self.weights = make_weights(case)
        self.network = plain.classifier(case, self.weights).train()
        self.inner = torch.optim.SGD(self.network.parameters(), lr=case.inner_learning_rate)
        self.outer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.tasks = make_tasks(case).flat()

    def step(self) -> None:
        self.outer.zero_grad()
        self.loss = 0.0
        for support, support_labels, query, query_labels in self.tasks:
            with higher.innerloop_ctx(self.network, self.inner, copy_initial_weights=False) as (network, inner):
                for _ in range(self.case.inner_steps):
                    inner.step(cross_entropy(network(support), support_labels))
                loss = cross_entropy(network(query), query_labels) / len(self.tasks)
                self.loss += float(loss)
                loss.backward()
        self.outer.step()

    def check(self) -> dict[str, float]:
        plain.load(self.network, self.weights)
        self.step()
        return {"loss": self.loss, "gradient norm": plain.gradient_norm(self.network)}


class HigherEvaluation:
    """The test part of the MAML example: `track_higher_grads=False`, which is what makes it cheap."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case = case
        self.network = plain.classifier(case, make_weights(case)).train()
        self.inner = torch.optim.SGD(self.network.parameters(), lr=case.inner_learning_rate)
        self.tasks = stored_tasks(case)

    def step(self) -> None:
        right = []
        for support, support_labels, query, query_labels in self.tasks:
            answers = _adapt_and_answer(self.network, self.inner, self.case.inner_steps, support, support_labels, query)
            right.append((answers.argmax(1) == query_labels).float().mean())
        self.accuracy = float(torch.stack(right).mean())

    def check(self) -> dict[str, float]:
        self.step()
        return {"accuracy": self.accuracy}


class HigherLatency:
    """The same for one task and one query, from uint8 images to a class."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case = case
        self.network = plain.classifier(case, make_weights(case)).train()
        self.inner = torch.optim.SGD(self.network.parameters(), lr=case.inner_learning_rate)
        self.support, self.labels, self.query = stored_episode(case)

    def step(self) -> None:
        support, query = self.support.float() / 255, self.query.float() / 255
        self.logits = _adapt_and_answer(self.network, self.inner, self.case.inner_steps, support, self.labels, query)
        self.answer = int(self.logits.argmax())

    def check(self) -> dict[str, float]:
        self.step()
        return {f"probability {place}": float(value) for place, value in enumerate(self.logits[0].softmax(-1))}


def _adapt_and_answer(
    network: nn.Module, inner: torch.optim.Optimizer, steps: int, support: Tensor, labels: Tensor, query: Tensor
) -> Tensor:
    with higher.innerloop_ctx(network, inner, track_higher_grads=False) as (adapted, inner_of_task):
        for _ in range(steps):
            inner_of_task.step(cross_entropy(adapted(support), labels))
        return adapted(query).detach()
