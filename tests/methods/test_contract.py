"""What every method keeps to. A new method is tested by standing in this table."""

import pytest
import torch

from fewshot.config import Settings, settings_from
from fewshot.data.images import EpisodeBatch
from fewshot.methods import build_method
from fewshot.methods.contract import Method

CASES = {
    "protonet-pool": {"method": {"name": "protonet"}, "backbone": {"form": "pool"}},
    "protonet-strided": {"method": {"name": "protonet"}, "backbone": {"form": "strided"}},
    "maml-pool": {"method": {"name": "maml"}, "backbone": {"form": "pool"}},
    "maml-strided": {"method": {"name": "maml"}, "backbone": {"form": "strided"}},
    "maml-loop": {"method": {"name": "maml", "backend": "loop"}, "backbone": {"form": "strided"}},
    "fomaml-strided": {"method": {"name": "maml", "order": "first"}, "backbone": {"form": "strided"}},
}


@pytest.fixture(params=list(CASES))
def settings(request: pytest.FixtureRequest) -> Settings:
    values = {key: dict(value) for key, value in CASES[request.param].items()}
    values["backbone"]["channels"] = 8  # type: ignore[assignment]
    return settings_from(values | {"train": {"episode": "4w1s3q"}})


@pytest.fixture
def method(settings: Settings) -> Method:
    return build_method(settings, (1, 28, 28)).eval()


def easy_tasks(number: int = 3, way: int = 4, shot: int = 1, query: int = 3, seed: int = 0) -> EpisodeBatch:
    """Classes that differ in where their bright square lies; a method that learns at all tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.rand(number, way, shot + query, 1, 28, 28, generator=generator)
    for task in range(number):
        places = torch.randperm(16, generator=generator)[:way]
        for place, of_class in zip(places.tolist(), images[task], strict=True):
            row, column = divmod(place, 4)
            of_class[..., 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] += 0.8
    return EpisodeBatch(images[:, :, :shot], images[:, :, shot:])


def test_a_batch_of_tasks_equals_batches_of_one(method: Method) -> None:
    batch = easy_tasks(number=8)
    for mode in method.batch_norm_modes:
        together = method.logits(batch, mode)
        for task, alone in enumerate(batch.split(1)):
            torch.testing.assert_close(method.logits(alone, mode)[0], together[task], rtol=1e-4, atol=1e-4)


def test_inductive_answers_survive_a_shuffle_of_the_queries(method: Method) -> None:
    batch = easy_tasks()
    order = torch.tensor([2, 0, 1])
    logits = method.logits(batch, "inductive").unflatten(1, (4, 3))
    shuffled = method.logits(EpisodeBatch(batch.support, batch.query[:, :, order]), "inductive").unflatten(1, (4, 3))
    torch.testing.assert_close(shuffled, logits[:, :, order], rtol=1e-4, atol=1e-4)


def test_heads_answer_as_the_batch_does(method: Method) -> None:
    batch = easy_tasks(number=2)
    expected = method.logits(batch, method.batch_norm_modes[0])
    for task in range(2):
        head = method.fit(list(batch.support[task]))
        logits = method.predict(head, batch.query[task].flatten(0, 1))
        torch.testing.assert_close(logits.detach(), expected[task].detach(), rtol=1e-4, atol=1e-4)


def test_support_sets_may_be_uneven(method: Method) -> None:
    support = easy_tasks(number=1, shot=3).support[0]
    head = method.fit([support[0], support[1, :1], support[2, :2]])
    assert head.way == 3
    assert method.predict(head, support[3]).shape == (3, 3)


def test_learns_an_easy_family_of_tasks_in_seconds(settings: Settings) -> None:
    method = build_method(settings, (1, 28, 28))
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        method.train()
        method.loss(easy_tasks(seed=step)).loss.backward()
        optimizer.step()
    method.eval()
    batch = easy_tasks(number=20, seed=1000)
    answers = method.logits(batch, method.batch_norm_modes[0]).argmax(-1)
    assert (answers == batch.labels).float().mean() > 0.9


def test_initial_weights_depend_on_the_seed_alone(settings: Settings) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_method(settings, (1, 28, 28)).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_method(settings, (1, 28, 28)).state_dict()
    other = build_method(settings.model_copy(update={"seed": 1}), (1, 28, 28)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_gradient_reaches_every_parameter(settings: Settings) -> None:
    method = build_method(settings, (1, 28, 28))
    method.train()
    method.loss(easy_tasks()).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in method.parameters())
