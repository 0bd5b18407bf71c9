"""One update: whatever way a batch is cut into parts and spread over threads, it is the same update."""

from collections.abc import Iterator

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from
from fewshot.settings.training import TrainSettings
from fewshot.system.device import Compute
from fewshot.training.outer_step import OuterStep

CPU = Compute(torch.device("cpu"))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def build(name: str, **method: object) -> Method:
    values = {
        "method": {"name": name, **method},
        "backbone": {"channels": 4, "form": "strided"},
        "train": {"episode": "3w1s2q"},
    }
    return build_method(settings_from(values), (1, 16, 16)).double()


def episodes(tasks: int) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(tasks, 3, 3, 1, 16, 16, generator=generator, dtype=torch.float64)
    return EpisodeBatch(images[:, :, :1], images[:, :, 1:])


def update(method: Method, tasks: int, steps: int = 2) -> dict[str, Tensor]:
    step = OuterStep(method, TrainSettings(learning_rate=0.1), CPU)
    for _ in range(steps):
        done = step(episodes(tasks), 0.1)
    assert done.gradient_norm > 0
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("tasks", [1, 5, 16])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.usefixtures("threads")
def test_threads_change_nothing(tasks: int, order: str) -> None:
    torch.set_num_threads(1)
    alone = update(build("maml", order=order), tasks)
    torch.set_num_threads(2)
    assert_same(update(build("maml", order=order), tasks), alone)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("threads")
def test_two_runs_with_threads_are_equal_to_the_bit() -> None:
    torch.set_num_threads(2)
    first, second = (update(build("maml"), 12) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("part", [1, 2, 3, 7])
def test_gradients_added_up_over_parts_equal_those_of_the_whole(part: int) -> None:
    whole, parts = build("maml"), build("maml")
    parts.tasks_at_once = lambda images: part  # type: ignore[method-assign]
    assert_same(update(parts, 7), update(whole, 7))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_grouped_tasks_equal_tasks_one_by_one(inner_steps: int) -> None:
    grouped = update(build("maml", backend="grouped", inner_steps=inner_steps), 5)
    assert_same(grouped, update(build("maml", backend="loop", inner_steps=inner_steps), 5))


def test_backend_auto_groups_and_loop_does_not() -> None:
    assert build("maml").tasks_at_once(9) == 8
    assert build("maml", backend="loop").tasks_at_once(9) == 1


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_thread_reaches_the_caller_and_the_threads_are_as_before() -> None:
    torch.set_num_threads(2)
    step = OuterStep(build("maml"), TrainSettings(), CPU)
    wrong = EpisodeBatch(*(images.repeat(1, 1, 1, 2, 1, 1) for images in (episodes(12).support, episodes(12).query)))
    with pytest.raises((RuntimeError, TypeCheckError)):  # the second where annotations are checked, as in these tests
        step(wrong, 0.1)
    assert torch.get_num_threads() == 2


def test_parts_of_a_method_with_running_statistics_run_one_after_another() -> None:
    method = build("protonet")
    method.tasks_at_once = lambda images: 2  # type: ignore[method-assign]
    state = update(method, 6, steps=1)
    assert state["backbone.norms.0.num_batches_tracked"] == 3
