"""Our MAML against the libraries it could have been written with: the same losses on the same weights and tasks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.speed import plain
from benchmarks.speed.cases import CASES, OURS_FLOAT32
from benchmarks.speed.inputs import make_tasks, make_weights
from benchmarks.speed.ours import OursStep
from fewshot.data.batches import EpisodeBatch

Task = tuple[Tensor, Tensor, Tensor, Tensor]


def with_higher(network: nn.Module, task: Task, steps: int, rate: float) -> Tensor:
    higher = pytest.importorskip("higher", reason="higher is not installed; it is in the extra peers")
    support, support_labels, query, query_labels = task
    inner = torch.optim.SGD(network.parameters(), lr=rate)
    with higher.innerloop_ctx(network, inner, copy_initial_weights=False) as (adapted, optimizer):
        for _ in range(steps):
            optimizer.step(cross_entropy(adapted(support), support_labels))
        return cross_entropy(adapted(query), query_labels)


def with_torchopt(network: nn.Module, task: Task, steps: int, rate: float) -> Tensor:
    torchopt = pytest.importorskip("torchopt", reason="torchopt is not installed; it is in the extra peers")
    support, support_labels, query, query_labels = task
    optimizer = torchopt.MetaSGD(network, lr=rate)
    before = torchopt.extract_state_dict(network, by="reference")
    for _ in range(steps):
        optimizer.step(cross_entropy(network(support), support_labels))
    loss = cross_entropy(network(query), query_labels)
    torchopt.recover_state_dict(network, before)
    return loss


@pytest.mark.filterwarnings("ignore")  # of the peers, with which we have no quarrel here
@pytest.mark.parametrize("peer", [with_higher, with_torchopt])
@pytest.mark.parametrize("name", ["maml-15q", "maml-1q-5steps", "maml-strided"])
def test_losses_and_meta_gradients_are_those_of_the_peer(
    name: str, peer: Callable[[nn.Module, Task, int, float], Tensor]
) -> None:
    case = CASES[name].checked()
    ours = OursStep(case, OURS_FLOAT32)
    ours.method.double()
    network = plain.classifier(case, make_weights(case)).double().train()
    for number, (support, support_labels, query, query_labels) in enumerate(make_tasks(case).flat()):
        task = (support.double(), support_labels, query.double(), query_labels)
        expected = peer(network, task, case.inner_steps, case.inner_learning_rate)
        part = ours.batch.split(1)[number]
        loss = ours.method.loss(EpisodeBatch(part.support.double(), part.query.double())).loss
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        norm, expected_norm = (
            torch.stack([gradient.norm() for gradient in torch.autograd.grad(value, list(of.parameters()))]).norm()
            for value, of in ((loss, ours.method), (expected, network))
        )
        torch.testing.assert_close(norm, expected_norm, rtol=1e-6, atol=0)
