"""Learning a task changes nothing in the method, so that threads can share it; what was learned can be saved."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewshot.errors import DamagedFileError, UsageError
from fewshot.methods import METHODS
from fewshot.methods.base import Head, Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from
from fewshot.system.device import Compute

THREADS, TASKS, DISTINCT = 4, 50, 10
INNER_LOOP = {"inner_steps_test": 1}
FEW_STEPS: dict[str, dict[str, object]] = {
    **dict.fromkeys(["anil", "protomaml", "metasgd", "learned_optimizer", "reptile"], INNER_LOOP),
    "maml": {"inner_steps_test": 1, "ensemble": 2},
    "maml++": {"inner_steps": 1, "inner_steps_test": 1},
    "baseline": {"steps": 3},
    "baseline++": {"steps": 3},
    "metaoptnet": {"iterations": 10},
    "matching": {"full_context": True},
}
FLOAT32, BFLOAT16 = (Compute(torch.device("cpu"), precision) for precision in (torch.float32, torch.bfloat16))
CASES = [(name, FLOAT32) for name in METHODS] + [("protonet", BFLOAT16), ("maml", BFLOAT16)]


def build(name: str) -> Method:
    values = {
        "method": {"name": name, **FEW_STEPS.get(name, {})},
        "backbone": {"form": "strided", "channels": 2},
        "train": {"episode": "3w1s2q"},
    }
    return build_method(settings_from(values), (1, 16, 16), 6).eval()


def tasks() -> list[tuple[list[Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(DISTINCT, 5, 2, 1, 16, 16, generator=generator)
    return [(list(of_task[: 2 + place % 3, : 1 + place % 2]), of_task[4]) for place, of_task in enumerate(images)]


def answer(method: Method, compute: Compute, support: list[Tensor], query: Tensor) -> Tensor:
    with torch.no_grad(), compute.autocast():
        return method.predict(method.fit(support), query)


@pytest.fixture
def switching_often() -> Iterator[None]:
    threads, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(1)
    sys.setswitchinterval(5e-4)
    yield
    sys.setswitchinterval(interval)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "compute"), CASES, ids=[f"{name} {c.precision}" for name, c in CASES])
@pytest.mark.usefixtures("switching_often")
def test_threads_that_share_a_method_answer_as_one_alone_to_the_bit(name: str, compute: Compute) -> None:
    method, given = build(name), tasks()
    alone = [answer(method, compute, *task) for task in given]
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}

    def all_in_turn(first: int) -> list[bool]:
        order = [(3 * first + place) % DISTINCT for place in range(TASKS)]
        return [torch.equal(answer(method, compute, *given[place]), alone[place]) for place in order]

    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        assert all(all(equal) for equal in pool.map(all_in_turn, range(THREADS)))
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())
    assert not method.training


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_head_answers_as_the_head_that_was_learned(name: str, tmp_path: Path) -> None:
    method, (support, query) = build(name), tasks()[1]
    head = method.fit(support)
    head.save(tmp_path / "head.safetensors")
    loaded = Head.load(tmp_path / "head.safetensors")
    assert (loaded.way, loaded.method) == (len(support), type(method).__name__)
    assert torch.equal(method.predict(loaded, query), method.predict(head, query))
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


def test_a_head_of_another_method_is_refused() -> None:
    support, query = tasks()[0]
    head = build("protonet").fit(support)
    with pytest.raises(UsageError, match=r"learned by ProtoNet and can't be used with R2D2; fit it again"):
        build("r2d2").predict(head, query)


def test_a_file_that_is_no_head_is_named(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedFileError, match=r"head\.safetensors is not a saved head .* fit the classes again"):
        Head.load(tmp_path / "head.safetensors")
    with pytest.raises(DamagedFileError, match=r"gone\.safetensors is not a saved head"):
        Head.load(tmp_path / "gone.safetensors")
