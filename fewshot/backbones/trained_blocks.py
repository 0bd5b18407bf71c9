"""Training the last blocks of a network, with all before them frozen."""

from typing import Any

from torch import nn

from fewshot.errors import UsageError


def train_last_blocks(network: Any, number: int) -> None:
    """Freeze all but the last blocks of a network of timm, in its own order of blocks. UsageError if it has fewer.

    What stands behind the last block, such as a normalisation, belongs to it.
    """
    from timm.models import group_parameters  # here, because it takes seconds

    block_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    blocks = max(block_of.values())
    if number > blocks:
        raise UsageError(f"backbone.trained_blocks={number}, but this network has {blocks} blocks; 0 trains all of it")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(block_of[name] > blocks - number)


def keep_frozen_parts_in_evaluation(network: nn.Module) -> None:
    """Put each part of a network in evaluation mode that has weights and learns none of them."""
    for part in network.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.train(False)


def is_random(network: nn.Module) -> bool:
    """True if the network drops something at random in training."""
    from timm.layers import DropPath

    dropouts = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
    return any(
        (isinstance(layer, dropouts) and layer.p > 0) or (isinstance(layer, DropPath) and bool(layer.drop_prob))
        for layer in network.modules()
    )
