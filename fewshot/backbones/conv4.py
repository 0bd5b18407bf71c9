"""Conv-4: the four-block convolutional network that most few-shot papers start from, in both published forms."""

from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewshot.backbones.image_block import image_block
from fewshot.backbones.layers import BatchNorm, Convolution
from fewshot.config import BackboneSettings
from fewshot.errors import UsageError


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch normalisation and ReLU.

    `pool` halves the image by max-pooling after each block and flattens the last map (Vinyals et al. 2016, section
    4.1; Snell et al. 2017, section 3.1). `strided` halves it by the convolution's stride and takes the mean over
    height and width (Finn et al. 2017, section 5.2, as in their released code for Omniglot).

    Two deviations leave the function as it was and save time: ReLU stands after the max-pooling (both are monotone,
    so they commute, and it then sees a quarter of the values), and the convolutions have no bias (the batch
    normalisation behind them subtracts it).
    """

    def __init__(self, image_shape: tuple[int, int, int], settings: BackboneSettings) -> None:
        """`image_shape` is (channel, height, width). Raises UsageError when four halvings leave nothing."""
        super().__init__()
        in_channels, height, width = image_shape
        pool = settings.form == "pool"
        if pool and min(height, width) < 16:
            raise UsageError(
                f"backbone.form=pool halves the image four times and needs 16x16 pixels or more, not {height}x{width}; "
                "use backbone.form=strided or larger images"
            )
        self.pool = pool
        widths = [in_channels, *[settings.channels] * 4]
        self.convolutions = nn.ModuleList(
            Convolution(before, after, stride=1 if pool else 2) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm(settings.channels) for _ in range(4))
        cells = (height // 16) * (width // 16) if pool else 1
        self.out_features = settings.channels * cells
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature"]:
        """Embeddings of images."""
        first, first_norm = cast(Convolution, self.convolutions[0]), cast(BatchNorm, self.norms[0])
        x = image_block(images, first, first_norm, self.pool)
        for convolution, norm in zip(self.convolutions[1:], self.norms[1:], strict=True):
            x = norm(convolution(x))
            if self.pool:
                x = nn.functional.max_pool2d(x, 2)
            x = nn.functional.relu(x, inplace=True)
        return x.flatten(1) if self.pool else x.mean((2, 3))
