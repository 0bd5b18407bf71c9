"""The outer optimizers, and the rates of a network's blocks."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_data import TOY, toy_dataset, toy_settings

from fewshot.backbones.build import build_backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.data.dataset import Dataset
from fewshot.errors import Interrupted
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import Settings, settings_from
from fewshot.settings.training import TrainSettings
from fewshot.system.device import Compute
from fewshot.training.loop import train
from fewshot.training.optimizers import FACTOR, make_optimizer, rate_factors
from fewshot.training.outer_step import OuterStep
from fewshot.training.schedule import learning_rate_at


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


def settings_of(**options: object) -> Settings:
    return toy_settings(**options)  # type: ignore[arg-type]


def build(**options: object) -> Method:
    return build_method(settings_of(**options), (1, 16, 16))


def batch() -> EpisodeBatch:
    images = torch.rand(2, 4, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return EpisodeBatch(images[:, :, :1], images[:, :, 1:])


RESUMED: list[dict[str, Any]] = [
    {"optimizer": "adamw", "weight_decay": 0.01, "warmup": 28},
    {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.001},
    {"optimizer": "sgd", "momentum": 0.0},
    {"backbone_rate": 0.1, "layer_decay": 0.5, "method": "relation"},
    {"augment": {"crop": 2, "flip": True, "jitter": 0.4}},
]


@pytest.mark.parametrize("options", RESUMED, ids=str)
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    dataset: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    def stop_at_25(step: int, _: dict[str, float]) -> None:
        if step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = settings_of(**options)
    undisturbed = train(settings, dataset, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(settings, dataset, tmp_path / "stopped", stop_at_25)
    assert train(settings, dataset, tmp_path / "stopped").weights_sha256 == undisturbed.weights_sha256


def test_sgd_steps_as_by_hand() -> None:
    settings = TrainSettings(optimizer="sgd", momentum=0.5, weight_decay=0.1, gradient_clip=1e9)
    method = build()
    step = OuterStep(method, settings, Compute(torch.device("cpu")))
    parameter = next(method.parameters())
    momentum = torch.zeros_like(parameter)
    for _ in range(3):
        before = parameter.detach().clone()
        step(batch(), 0.2)
        assert parameter.grad is not None
        gradient = parameter.grad + 0.1 * before
        momentum = 0.5 * momentum + gradient
        torch.testing.assert_close(parameter.detach(), before - 0.2 * (gradient + 0.5 * momentum))


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", 2.0 * (1 - 0.1 * 0.5)), ("adam", 2.0 - 0.1)])
def test_decoupled_decay_shrinks_a_weight_that_has_no_gradient(optimizer: str, expected: float) -> None:
    # In Adam, a decay that is part of the gradient moves every weight by the whole rate.
    method = build()
    settings = settings_of(optimizer=optimizer, weight_decay=0.5, learning_rate=0.1).train
    weight = torch.nn.init.constant_(next(method.parameters()), 2.0)
    weight.grad = torch.zeros_like(weight)
    make_optimizer(method, settings, None).step()
    torch.testing.assert_close(weight.detach(), torch.full_like(weight, expected))


def test_warm_up_grows_linearly_to_the_schedule() -> None:
    base = {"learning_rate": 1.0, "steps": 100, "halve_every": 30}
    plain, warm = (TrainSettings.model_validate(base | {"warmup": steps}) for steps in (0, 4))
    found = [learning_rate_at(step, warm) / learning_rate_at(step, plain) for step in range(6)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert learning_rate_at(50, warm) == learning_rate_at(50, plain) == 0.5 * (1 + math.cos(math.pi / 2))


def test_blocks_further_from_the_head_learn_more_slowly() -> None:
    method = build(method="relation", backbone_rate=0.1, layer_decay=0.5)
    factors = rate_factors(method, settings_of(backbone_rate=0.1, layer_decay=0.5).train)
    for block in range(4):
        for name in (f"backbone.convolutions.{block}.weight", f"backbone.norms.{block}.bias"):
            assert factors[name] == pytest.approx(0.1 * 0.5 ** (3 - block))
    assert {factor for name, factor in factors.items() if not name.startswith("backbone.")} == {1.0}
    assert factors.keys() == {name for name, _ in method.named_parameters()}


def test_the_rates_of_blocks_are_those_of_the_update() -> None:
    # The first step of Adam moves each weight by the rate, whatever its gradient.
    settings = settings_of(backbone_rate=0.1, layer_decay=0.5, method="relation", gradient_clip=1e9).train
    method = build(method="relation")
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    OuterStep(method, settings, Compute(torch.device("cpu")))(batch(), 1e-3)
    for name, factor in rate_factors(method, settings).items():
        moved = (method.get_parameter(name).detach() - before[name]).abs().max().item()
        assert moved == pytest.approx(1e-3 * factor, rel=0.05), name


def test_one_rate_for_all_is_one_group_in_the_order_of_the_method() -> None:
    method = build(method="relation")
    [group] = make_optimizer(method, TrainSettings(), None).param_groups
    assert group[FACTOR] == 1.0
    assert all(mine is yours for mine, yours in zip(group["params"], method.parameters(), strict=True))


@pytest.mark.parametrize(
    ("backbone", "blocks"),
    [
        ({"name": "conv4"}, {"convolutions.2.weight": 2, "norms.3.bias": 3}),
        ({"name": "resnet12"}, {"blocks.0.norms.1.weight": 0, "blocks.3.shortcut.0.weight": 3}),
        (
            {"name": "torchvision", "network": "resnet18"},
            {"network.conv1.weight": 0, "network.layer1.1.conv1.weight": 2, "network.layer4.1.conv2.weight": 5},
        ),
        (
            {"name": "torchvision", "network": "vit_b_16"},
            {"network.class_token": 0, "network.encoder.layers.encoder_layer_7.mlp.0.weight": 8},
        ),
    ],
    ids=["conv4", "resnet12", "resnet18", "vit"],
)
def test_the_block_of_a_parameter(backbone: dict[str, object], blocks: dict[str, int]) -> None:
    with torch.device("meta"):
        network = build_backbone(settings_from(TOY | {"backbone": backbone}).backbone, (3, 64, 64))
    names = [name for name, _ in network.named_parameters()]
    assert {name: network.block_of(name) for name in blocks} == blocks
    assert set(blocks) <= set(names)
