"""What the machine computes on."""

import pytest
import torch

from fewshot.errors import UsageError
from fewshot.system.device import pick_device, pick_precision, prepare_cpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_asked_for_by_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="device=cuda was asked for, but this machine has no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "xla"])
def test_a_device_that_is_none_of_ours_is_said(name: str) -> None:
    with pytest.raises(UsageError, match=r"use auto, cpu, cuda"):
        pick_device(name)


def test_auto_takes_what_there_is() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else pick_device("auto").type)
    assert pick_device("cpu") == torch.device("cpu")


def test_precision_can_be_forced_and_auto_always_decides_alike() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("bfloat16", cpu) == torch.bfloat16
    assert pick_precision("float32", cpu) == torch.float32
    assert pick_precision("auto", cpu) == pick_precision("auto", cpu)


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        prepare_cpu(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
