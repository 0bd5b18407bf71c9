"""Other forms of the stacked convolution and its normalisation, put in the place of the library's for a measurement."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from fewshot.backbones.fast import grouped_layers
from fewshot.methods import stacked_network

FORMS = ("library", "small stacks", "torch's derivatives", "NCHW", "matrix product")
"""The library as it is; with the stacks of a CPU; and with other convolutions."""


@contextmanager
def form(name: str) -> Iterator[None]:
    """The library in one of FORMS, while the block runs."""
    layer = grouped_layers.Convolution
    changes = {
        "torch's derivatives": {"forward": _as_torch(torch.channels_last)},
        "NCHW": {"forward": _as_torch(torch.contiguous_format)},
        "matrix product": {"forward": _as_product},
    }
    with ExitStack() as stack:
        if name == "small stacks":
            stack.enter_context(patch.dict(stacked_network.LIMITS, {"cuda": stacked_network.LIMITS["cpu"]}))
        for attribute, value in changes.get(name, {}).items():
            stack.enter_context(patch.object(layer, attribute, value))
        if name in ("torch's derivatives", "NCHW"):
            stack.enter_context(patch.object(grouped_layers.BatchNorm, "forward", nn.BatchNorm2d.forward))
        yield


def _as_torch(layout: torch.memory_format):  # type: ignore[no-untyped-def]
    def forward(self: grouped_layers.Convolution, x: Tensor) -> Tensor:
        x, weight = grouped_layers.as_autocast_would(x, self.weight)
        x = x.contiguous(memory_format=layout)
        return torch.conv2d(x, weight, None, self.stride, 1, 1, self.networks(weight))

    return forward


def _as_product(self: grouped_layers.Convolution, x: Tensor) -> Tensor:
    """Patches times filters: one batched matrix product for all tasks."""
    x, weight = grouped_layers.as_autocast_would(x, self.weight)
    tasks, images = self.networks(weight), len(x)
    of_task = x.unflatten(1, (tasks, -1)).transpose(0, 1)  # task image channel height width
    patches = unfold(of_task.flatten(0, 1), 3, padding=1, stride=self.stride)  # task*image, entry, place
    patches = patches.unflatten(0, (tasks, images)).transpose(1, 2).flatten(2)  # task, entry, image*place
    found: Tensor = torch.bmm(weight.flatten(1).unflatten(0, (tasks, -1)), patches)  # task, filter, image*place
    height, width = ((size - 1) // stride + 1 for size, stride in zip(x.shape[2:], self.stride, strict=True))
    maps: Tensor = found.unflatten(2, (images, height, width)).permute(2, 0, 1, 3, 4).flatten(1, 2)
    return maps.contiguous(memory_format=torch.channels_last)
