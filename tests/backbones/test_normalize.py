"""Normalisation of images by the statistics of their channels."""

from typing import Any

import pytest
import torch

from fewshot.backbones.build import build_backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from

MEAN, STD = [0.47, 0.45, 0.4], [0.28, 0.27, 0.29]
BACKBONES: dict[str, dict[str, object]] = {
    "pool": {"form": "pool", "channels": 4},
    "strided": {"form": "strided", "channels": 4},
    "resnet12": {"name": "resnet12", "channels": [4, 4, 4, 4], "drop": 0.0},
}


def build(backbone: str, mean: list[float], std: list[float], method: str = "protonet", **options: Any) -> Method:
    values = {
        "method": {"name": method, **options},
        "backbone": BACKBONES[backbone] | {"mean": mean, "std": std},
        "train": {"episode": "3w1s2q"},
    }
    return build_method(settings_from(values), (3, 16, 16)).double()


def batches() -> tuple[EpisodeBatch, EpisodeBatch]:
    """Episodes, and the same ones normalised by hand."""
    images = torch.rand(4, 3, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, std = (torch.tensor(of).double().view(3, 1, 1) for of in (MEAN, STD))
    given, by_hand = images, (images - mean) / std
    return EpisodeBatch(given[:, :, :1], given[:, :, 1:]), EpisodeBatch(by_hand[:, :, :1], by_hand[:, :, 1:])


@pytest.mark.parametrize(
    ("backbone", "method", "options"),
    [
        *[(backbone, "protonet", {}) for backbone in BACKBONES],
        ("strided", "maml", {"backend": "grouped"}),
        ("pool", "maml", {"backend": "loop"}),
        ("strided", "maml++", {}),
    ],
)
def test_a_normalising_network_equals_a_plain_one_on_normalised_images(
    backbone: str, method: str, options: dict[str, object]
) -> None:
    inside, outside = (build(backbone, *of, method, **options) for of in ((MEAN, STD), ([], [])))
    given, by_hand = batches()
    losses = [inside.train().loss(given).loss, outside.train().loss(by_hand).loss]
    gradients = [
        torch.autograd.grad(loss, [p for p in of.parameters() if p.requires_grad], materialize_grads=True)
        for loss, of in zip(losses, (inside, outside), strict=True)
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
    for mode in inside.batch_norm_modes:
        answers = [of.eval().logits(batch, mode) for of, batch in ((inside, given), (outside, by_hand))]
        torch.testing.assert_close(*answers)
    support, query = list(given.support[0]), given.query[0].flatten(0, 1)
    torch.testing.assert_close(
        inside.predict(inside.fit(support), query), inside.logits(given, inside.batch_norm_modes[0])[0]
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_weights_of_a_network_are_called_the_same_with_and_without_statistics(backbone: str) -> None:
    plain, normalising = (build(backbone, *of).state_dict() for of in ((MEAN, STD), ([], [])))
    assert list(plain) == list(normalising)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [0.5], "std": [0.2]}, r"backbone\.mean and backbone\.std have 1 numbers, but the images have 3"),
        ({"mean": [0.5, 0.5, 0.5]}, r"mean has 3 numbers and std 0; give both one for each channel, or neither"),
        ({"mean": [0.5], "std": [0.0]}, r"setting backbone\.std\.0 = 0\.0: input should be greater than 0"),
    ],
)
def test_statistics_that_do_not_fit_are_said(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(settings_from({"backbone": values}).backbone, (3, 16, 16))
