"""Batch normalisation computed inside the convolution before it: the same embeddings, 17 to 20 % more a second.

A normalisation with fixed statistics is a scale and a shift of each channel, which the weights of the convolution can
take in. The network itself keeps its own weights; the folded ones are made from them when they are first needed. The
speeds are those of EfficientNet-Lite0 on one core: bfloat16 193 -> 226 images/s, float32 122 -> 147.
"""

import copy
import logging
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-3
"""Largest difference between the embeddings of a folded network and its own, as a share of the largest value."""


class FoldedCopy:
    """The folded copy of one network, remade when its weights change. It is no part of the network's state."""

    def __init__(self) -> None:
        self._made: tuple[object, nn.Module] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> "FoldedCopy":
        return FoldedCopy()

    def of(self, network: nn.Module, side: int) -> nn.Module:
        """The copy of a network in evaluation mode, or the network itself where there is nothing to fold.

        `side` is that of its images, on one of which both are compared. Threads may call this at once.
        """
        weights = list(network.parameters())
        if not weights or weights[0].is_meta or not all(isinstance(weight, nn.Parameter) for weight in weights):
            return network  # weights of an inner loop, which are others in each call
        state = [*weights, *network.buffers()]
        key = tuple((tensor.data_ptr(), tensor._version) for tensor in state)
        made = self._made
        if made is None or made[0] != key:
            made = self._made = key, _folded(network, side)
        return made[1]


@torch.no_grad()
def _folded(network: nn.Module, side: int) -> nn.Module:
    pairs = _pairs(network)
    if not pairs:
        return network
    folded = copy.deepcopy(network).eval()
    for convolution, norm in pairs:
        before, after = folded.get_submodule(convolution), folded.get_submodule(norm)
        fused = fuse_conv_bn_eval(cast(nn.Conv2d, before), cast(nn.BatchNorm2d, after))
        _replace(folded, convolution, fused)
        _replace(folded, norm, _behind(after))
    folded.requires_grad_(False).to(memory_format=torch.channels_last)
    if not _alike(network, folded, side):
        _log.debug("%s computes something between a convolution and its normalisation", type(network).__name__)
        return network
    return folded


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of each convolution and the batch normalisation that stands right behind it."""
    found = []
    for parent, module in network.named_modules():
        last: tuple[str, nn.Module] | None = None
        for name, child in module.named_children():
            full = f"{parent}.{name}" if parent else name
            is_norm = isinstance(child, nn.BatchNorm2d) and child.track_running_stats
            if is_norm and last is not None and isinstance(last[1], nn.Conv2d):
                found.append((last[0], full))
            last = full, child
    return found


def _behind(norm: nn.Module) -> nn.Module:
    """The activation that timm computes in the same layer as the normalisation."""
    layers = [layer for layer in (getattr(norm, "drop", None), getattr(norm, "act", None)) if layer is not None]
    return nn.Sequential(*layers) if layers else nn.Identity()


def _alike(network: nn.Module, folded: nn.Module, side: int) -> bool:
    weight = next(folded.parameters())
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, side, side, generator=generator).to(weight.device, weight.dtype)
    with torch.autocast(weight.device.type, enabled=False):
        expected, found = _embedding(network, image), _embedding(folded, image)
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def _embedding(network: Any, image: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image feature"]:
    embedding: Tensor = network(image)
    return embedding


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, layer)
