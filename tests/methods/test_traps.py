"""Mistakes that other implementations are known for, where no other test of ours would find them."""

from pathlib import Path

import pytest
import torch
from test_inner_loop import Tiny, tasks, tiny
from torch import Tensor
from toy_data import toy_dataset, toy_settings

from fewshot.backbones.fast.grouped_layers import BatchNorm, Convolution
from fewshot.data.batches import EpisodeBatch, ImageBank
from fewshot.methods.build import build_method
from fewshot.methods.descent import last
from fewshot.methods.protonet import ProtoNet
from fewshot.methods.simpleshot import SimpleShot
from fewshot.methods.stacked_network import StackedNetwork, flat
from fewshot.settings.schema import settings_from
from fewshot.training.loop import train


class Counting(Tiny):
    """Remembers how many images each pass took, in one list for all copies."""

    def __init__(self, passes: list[int]) -> None:
        super().__init__()
        self.count = passes.append

    def maps(self, images: Tensor) -> Tensor:
        self.count(len(images))
        return super().maps(images)


def test_support_and_query_of_a_protonet_episode_are_normalised_together() -> None:
    passes: list[int] = []
    batch = tasks(number=1, way=3, shot=2, query=3)
    protonet = ProtoNet(Counting(passes).double()).train()
    logits = protonet.logits(batch)
    assert passes == [3 * (2 + 3)]
    # In training other queries therefore change the answer to a query, at test they don't.
    fewer = EpisodeBatch(batch.support, batch.query[:, :, :1])
    of_first = logits.unflatten(1, (3, 3))[:, :, 0]
    assert not torch.allclose(protonet.logits(fewer), of_first)
    protonet.eval()
    torch.testing.assert_close(protonet.logits(fewer), protonet.logits(batch).unflatten(1, (3, 3))[:, :, 0])


def test_anil_embeds_the_support_set_once_however_many_steps_it_takes() -> None:
    passes: list[int] = []
    method = tiny("anil", inner_steps=5, backbone=Counting(passes))
    method.loss(tasks(number=1, way=3, shot=2, query=3))
    assert passes == [3 * 2, 3 * 3]


def test_reptile_learns_a_task_in_the_same_way_whatever_came_before() -> None:
    method, (first, second) = tiny("reptile", inner_learning_rate=0.01), tasks().split(1)
    alone = last(method.adapt(*flat(second.support), 3, order="none"))
    list(method.adapt(*flat(first.support), 3, order="none"))
    after_another = last(method.adapt(*flat(second.support), 3, order="none"))
    assert all(torch.equal(alone[name], after_another[name]) for name in alone)


@pytest.mark.parametrize("name", ["maml", "anil", "protomaml", "metasgd", "maml++", "learned_optimizer"])
def test_the_inner_update_stays_in_float32_under_autocast(name: str) -> None:
    method = tiny(name, inner_steps=1, inner_steps_test=1, inner_learning_rate=1e-4).float()
    images, labels, way = flat(tasks(number=1).support.float())
    with torch.autocast("cpu", torch.bfloat16):
        before, after = method.adapt(images, labels, way, 1, order="second")
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    # In bfloat16 an update of less than 1/256 of a weight would be lost.
    change = (after["head.bias"] - before["head.bias"]).abs()
    assert 0 < change.max() < 1e-3


def test_simple_shot_is_centred_on_training_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = toy_dataset(tmp_path / "data")
    shown: list[Tensor] = []
    monkeypatch.setattr(SimpleShot, "update_statistics", lambda self, images: shown.append(images))
    train(toy_settings("simpleshot", steps=2), dataset, tmp_path / "run")
    bank = ImageBank(dataset.pack.images, torch.device("cpu"))
    part = dataset.class_table("train")
    of_training = [
        bank.take(torch.arange(start, start + count).numpy(), torch.full((count,), int(turns)).numpy())
        for start, count, turns in zip(part.start.tolist(), part.count.tolist(), part.rotation.tolist(), strict=True)
    ]
    known = {image.numpy().tobytes() for image in torch.cat(of_training)}
    assert shown
    assert all(image.numpy().tobytes() in known for image in torch.cat(shown))


def test_calls_at_one_time_never_share_a_skeleton_and_calls_after_one_another_do() -> None:
    network = StackedNetwork(Tiny(), groups=False)
    with network._skeleton() as first, network._skeleton() as second:
        assert len({id(network.backbone), id(first), id(second)}) == 3
    with network._skeleton() as third:
        assert third in (first, second)
    assert all(parameter.is_meta for parameter in first.parameters())


def test_the_running_statistics_of_tasks_side_by_side_are_their_own() -> None:
    norm, convolution = BatchNorm(2), Convolution(1, 2, 1)
    norm.momentum = 1.0
    images = torch.stack([torch.rand(4, 6, 6), 5 * torch.rand(4, 6, 6)], 1)  # image, task x channel, height, width
    buffers = {"running_mean": torch.zeros(4), "running_var": torch.ones(4), "num_batches_tracked": torch.tensor(0)}
    weight = {"weight": torch.cat([convolution.weight] * 2)}
    maps = torch.func.functional_call(convolution, weight, images)
    torch.func.functional_call(norm, buffers | {"weight": torch.ones(4), "bias": torch.zeros(4)}, maps)
    assert (norm.running_mean == 0).all()
    for task in range(2):
        torch.testing.assert_close(
            buffers["running_mean"][2 * task : 2 * task + 2], convolution(images[:, task : task + 1]).mean((0, 2, 3))
        )


@pytest.mark.parametrize("name", ["matching", "r2d2", "metaoptnet", "metabaseline"])
def test_a_scale_can_grow_as_far_as_a_short_training_needs(name: str) -> None:
    """A scale of 10 that Adam moves by its rate of 0.002 a step could not double within 3,000 steps of a cosine."""
    method = build_method(settings_from({"method": {"name": name}}), (1, 28, 28))
    scale = method.get_submodule("scale")

    def value() -> float:
        return scale(torch.ones(())).item()

    start = value()
    optimizer = torch.optim.Adam(scale.parameters(), lr=0.002)
    for _ in range(400):
        optimizer.zero_grad()
        (-scale(torch.ones(()))).backward()
        optimizer.step()
    assert value() > 2 * start
    for _ in range(2000):
        optimizer.zero_grad()
        scale(torch.ones(())).backward()
        optimizer.step()
    assert 0 < value() < start / 2, "it shrinks as well, and stays positive"
