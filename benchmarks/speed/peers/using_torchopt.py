"""TorchOpt: MAML with the differentiable optimizer `MetaSGD`."""

import torch
import torchopt
from torch.nn.functional import cross_entropy

from benchmarks.speed import plain
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import make_tasks, make_weights
from benchmarks.speed.peers.episodes import stored_tasks


class TorchOptStep:
    """The README's "OOP API" of explicit gradients, with the state taken and put back around each task.

    That is the tutorial "Meta-Optimizer" and the few-shot example: the losses of all tasks are averaged and there is
    one backward pass ("one-backward"). "backward-per-task" frees each task's graph before the next one is made.
    """

    def __init__(self, case: Case, variant: str) -> None:
        self.case, self.one_backward = case, variant == "one-backward"
        self.weights = make_weights(case)
        self.network = plain.classifier(case, self.weights).train()
        self.inner = torchopt.MetaSGD(self.network, lr=case.inner_learning_rate)
        self.outer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.parameters = list(self.network.parameters())
        self.tasks = make_tasks(case).flat()

    def step(self) -> None:
        self.outer.zero_grad()
        network_state = torchopt.extract_state_dict(self.network, by="reference")
        inner_state = torchopt.extract_state_dict(self.inner, by="reference")
        losses = []
        for support, support_labels, query, query_labels in self.tasks:
            for _ in range(self.case.inner_steps):
                self.inner.step(cross_entropy(self.network(support), support_labels))
            loss = cross_entropy(self.network(query), query_labels) / len(self.tasks)
            torchopt.recover_state_dict(self.network, network_state)
            torchopt.recover_state_dict(self.inner, inner_state)
            if not self.one_backward:
                loss.backward()
                loss = loss.detach()
            losses.append(loss)
        total = torch.stack(losses).sum()
        if self.one_backward:
            total.backward()
        self.outer.step()
        self.loss = float(total)

    def check(self) -> dict[str, float]:
        plain.load(self.network, self.weights)
        self.step()
        return {"loss": self.loss, "gradient norm": plain.gradient_norm(self.network)}


class TorchOptEvaluation:
    """Each task adapted by `MetaSGD`, its queries answered, the state put back, as the few-shot example tests."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case = case
        self.network = plain.classifier(case, make_weights(case)).train()
        self.inner = torchopt.MetaSGD(self.network, lr=case.inner_learning_rate)
        self.tasks = stored_tasks(case)

    def step(self) -> None:
        network_state = torchopt.extract_state_dict(self.network, by="reference")
        inner_state = torchopt.extract_state_dict(self.inner, by="reference")
        right = []
        for support, support_labels, query, query_labels in self.tasks:
            for _ in range(self.case.inner_steps):
                self.inner.step(cross_entropy(self.network(support), support_labels))
            with torch.no_grad():
                right.append((self.network(query).argmax(1) == query_labels).float().mean())
            torchopt.recover_state_dict(self.network, network_state)
            torchopt.recover_state_dict(self.inner, inner_state)
        self.accuracy = float(torch.stack(right).mean())

    def check(self) -> dict[str, float]:
        self.step()
        return {"accuracy": self.accuracy}
