"""Conv-4 in both published forms."""

import pytest
import torch
from torch import nn

from fewshot.backbones.conv4 import Conv4, Conv4Settings
from fewshot.errors import UsageError


@pytest.mark.parametrize(
    ("form", "image_shape", "features"),
    [
        ("pool", (1, 28, 28), 64),
        ("pool", (3, 84, 84), 1600),
        ("pool", (3, 32, 32), 256),
        ("strided", (1, 28, 28), 64),
        ("strided", (3, 84, 84), 64),
        ("strided", (2, 7, 11), 64),
    ],
)
def test_any_image_size_and_number_of_channels(form: str, image_shape: tuple[int, int, int], features: int) -> None:
    backbone = Conv4(image_shape, Conv4Settings(name="conv4", form=form))  # type: ignore[arg-type]
    assert backbone.out_features == features
    assert backbone(torch.rand(2, *image_shape)).shape == (2, features)


def test_pool_form_equals_the_published_order_of_layers() -> None:
    # The paper: convolution, batch norm, ReLU, max-pool.
    torch.manual_seed(0)
    backbone = Conv4((1, 28, 28), Conv4Settings(name="conv4", channels=8)).train()
    blocks = [
        nn.Sequential(convolution, norm, nn.ReLU(), nn.MaxPool2d(2))
        for convolution, norm in zip(backbone.convolutions, backbone.norms, strict=True)
    ]
    images = torch.rand(6, 1, 28, 28)
    torch.testing.assert_close(backbone(images), nn.Sequential(*blocks, nn.Flatten())(images))


def test_images_too_small_to_halve_four_times_are_refused() -> None:
    with pytest.raises(UsageError, match="needs 16x16 pixels or more, not 8x28"):
        Conv4((1, 8, 28), Conv4Settings(name="conv4"))
