"""easyfsl: `PrototypicalNetworks` trained, tested and used as in its notebooks."""

import torch
from easyfsl.methods import PrototypicalNetworks
from easyfsl.utils import evaluate
from torch.nn.functional import cross_entropy

from benchmarks.speed import plain
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import make_tasks, make_weights
from benchmarks.speed.peers.episodes import stored_episode, stored_tasks


class EasyFSLStep:
    """An iteration of the notebook "Example of episodic training": `process_support_set`, the classifier, Adam."""

    def __init__(self, case: Case, variant: str) -> None:
        self.case, self.weights = case, make_weights(case)
        self.model = PrototypicalNetworks(plain.embedding(case, self.weights)).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loss_of = torch.nn.CrossEntropyLoss()
        self.episode = make_tasks(case).flat()[0]

    def step(self) -> None:
        support, support_labels, query, query_labels = self.episode
        self.optimizer.zero_grad()
        self.model.process_support_set(support, support_labels)
        loss = self.loss_of(self.model(query), query_labels)
        loss.backward()
        self.optimizer.step()
        loss.item()

    def check(self) -> dict[str, float]:
        """The loss in evaluation mode under the squared distance; easyfsl's scores are the negative distance itself."""
        support, support_labels, query, query_labels = self.episode
        fresh = PrototypicalNetworks(plain.embedding(self.case, self.weights)).eval()
        with torch.no_grad():
            fresh.process_support_set(support, support_labels)
            return {"loss": float(cross_entropy(-fresh(query).square(), query_labels))}


class EasyFSLEvaluation:
    """`easyfsl.utils.evaluate` over episodes that lie ready in memory, so that no loader is timed."""

    def __init__(self, case: Case, variant: str) -> None:
        self.model = PrototypicalNetworks(plain.embedding(case, make_weights(case)))
        self.episodes = [(*task, list(range(case.shape.way))) for task in stored_tasks(case)]

    def step(self) -> None:
        self.accuracy = evaluate(self.model, self.episodes, device="cpu", use_tqdm=False)

    def check(self) -> dict[str, float]:
        self.step()
        return {"accuracy": self.accuracy}


class EasyFSLLatency:
    """The notebook "First steps": `process_support_set`, then one query, from uint8 images to a class."""

    def __init__(self, case: Case, variant: str) -> None:
        self.model = PrototypicalNetworks(plain.embedding(case, make_weights(case))).eval()
        self.support, self.labels, self.query = stored_episode(case)

    def step(self) -> None:
        with torch.no_grad():
            self.model.process_support_set(self.support.float() / 255, self.labels)
            self.scores = self.model(self.query.float() / 255)
        self.answer = int(self.scores.argmax())

    def check(self) -> dict[str, float]:
        self.step()
        probabilities = (-self.scores.square()).softmax(-1)[0]  # of squared distances, as in the paper
        return {f"probability {place}": float(value) for place, value in enumerate(probabilities)}
