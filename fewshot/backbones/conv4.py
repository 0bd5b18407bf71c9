"""Conv-4: the four-block convolutional network that most few-shot papers start from, in its published forms."""

from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.backbones.fast.first_block import image_block
from fewshot.backbones.fast.grouped_layers import BatchNorm, Convolution
from fewshot.backbones.normalize import Normalize, NormalizedSettings
from fewshot.errors import UsageError

POOLED = {"pool": 4, "relation": 2, "strided": 0}
"""Form -> number of blocks, counted from the first, that end with max-pooling."""


class Conv4Settings(NormalizedSettings):
    """Four convolutional blocks, in three published forms."""

    form: Literal["pool", "relation", "strided"] = Field(
        "pool",
        description="pool: max-pooling, flattened (ProtoNet paper); strided: stride 2, mean (MAML's code); "
        "relation: max-pooling in the first two blocks only (RelationNet paper)",
    )
    channels: int = Field(64, ge=1, description="filters of each convolution")


class Conv4(Backbone):
    """Four blocks of 3x3 convolution, batch normalisation and ReLU.

    `pool` halves the image by max-pooling after each block and flattens the last map (Vinyals et al. 2016, section
    4.1; Snell et al. 2017, section 3.1). `relation` does so after the first two only, for methods that look at maps
    (Sung et al. 2018, section 3.4; here the first two blocks, too, are padded, which leaves maps of 7x7 for images of
    28x28 instead of 5x5). `strided` halves it by the convolution's stride and takes the mean over height and width
    (Finn et al. 2017, section 5.2, as in their released code for Omniglot).

    Two deviations leave the function as it was and save time: ReLU stands after the max-pooling (both are monotone,
    so they commute, and it then sees a quarter of the values), and the convolutions have no bias (the batch
    normalisation behind them subtracts it).
    """

    Settings: ClassVar = Conv4Settings

    def __init__(self, image_shape: tuple[int, int, int], settings: Conv4Settings) -> None:
        """`image_shape` is (channel, height, width). Raises UsageError when the halvings leave nothing."""
        super().__init__()
        in_channels, height, width = image_shape
        self.pooled = POOLED[settings.form]
        least = 2**self.pooled
        if min(height, width) < least:
            raise UsageError(
                f"backbone.form={settings.form} halves the image {self.pooled} times and needs {least}x{least} pixels "
                f"or more, not {height}x{width}; use backbone.form=strided or larger images"
            )
        self.averages = settings.form == "strided"
        for _ in range(4 if self.averages else 0):
            height, width = (height + 1) // 2, (width + 1) // 2
        self.map_shape = (settings.channels, height // least, width // least)
        self.normalize = Normalize(in_channels, settings)
        widths = [in_channels, *[settings.channels] * 4]
        self.convolutions = nn.ModuleList(
            Convolution(before, after, stride=2 if self.averages else 1) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm(settings.channels) for _ in range(4))
        self.to(memory_format=torch.channels_last)

    def block_of(self, parameter: str) -> int:
        return int(parameter.split(".")[1])  # convolutions.0.weight, norms.0.bias

    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        first, first_norm = cast(Convolution, self.convolutions[0]), cast(BatchNorm, self.norms[0])
        x = image_block(self.normalize(images), first, first_norm, pool=self.pooled > 0)
        for block in range(1, 4):
            x = self.norms[block](self.convolutions[block](x))
            if block < self.pooled:
                x = nn.functional.max_pool2d(x, 2)
            x = nn.functional.relu(x, inplace=True)
        return x
