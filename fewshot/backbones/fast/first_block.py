"""A network's first block, on images: convolution, batch normalisation and max-pooling in one pass.

Its maps are the largest of a network (three quarters of all the values in a Conv-4), and its input is special: images
have few channels, so that the patch a 3x3 filter sees is 9 or 27 numbers, and they need no gradient. Hence

- the mean and variance that a filter w gives over a batch follow from the mean m and covariance C of its patches, as
  w m and w C w: normalisation comes down to other filters and a shift, found without computing the maps first, and
  all its derivatives are those of tensors as small as the filters;
- convolution is one matrix product with the patches, of which max-pooling keeps the largest of four; only what it
  kept is written to memory.

As in `fewshot.backbones.fast.grouped_layers`, T networks can be computed side by side as channel groups.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import max_pool2d, pad, relu

from fewshot.backbones.fast.grouped_layers import BatchNorm, Convolution, as_autocast_would

Patches = Float[Tensor, "task entry place"]
Filters = Float[Tensor, "task entry filter"]
Values = Float[Tensor, "task place filter"]


def image_block(
    images: Float[Tensor, "image channel height width"], convolution: Convolution, norm: BatchNorm, pool: bool
) -> Float[Tensor, "image filter h w"]:
    """relu(max_pool(norm(convolution(images)), 2)), or without max-pooling. `images` gets no gradient."""
    if images.device.type != "cpu":
        return _as_other_blocks(images, convolution, norm, pool)
    weight = convolution.weight
    tasks, stride = convolution.networks(weight), convolution.stride[0]
    [images] = as_autocast_would(images.detach())
    patches = _patches(images, tasks, stride)
    filters = weight.flatten(1).unflatten(0, (tasks, -1))  # task, filter, channel x 3 x 3
    if norm.training:
        mean, variance, count = _statistics(patches.flatten(2), filters)
        norm.update_running_statistics(mean.detach(), variance.detach(), count)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight * (variance + norm.eps).rsqrt()
    shift = norm.bias - mean * scale
    # The shift is one more entry of each filter, and the patches' entry for it is one.
    folded = torch.cat([filters * scale.view(tasks, -1, 1), shift.view(tasks, -1, 1)], 2).transpose(1, 2)
    patches = pad(patches, (0, 0, 0, 0, 0, 0, 0, 1), value=1.0)
    height, width = patches.shape[-2:]
    if pool:
        height, width = height // 2, width // 2
        corners = [patches[..., row : 2 * height : 2, column : 2 * width : 2] for row in (0, 1) for column in (0, 1)]
    else:
        corners = [patches]
    # In row order: then the filters' gradient, too, is a product that BLAS does fast.
    largest = relu(_Largest.apply(folded.to(patches.dtype).contiguous(), *(part.flatten(2) for part in corners)))
    largest = largest.transpose(0, 1).reshape(len(images), height, width, -1)
    return largest.permute(0, 3, 1, 2)  # channels last in memory


def _as_other_blocks(images: Tensor, convolution: Convolution, norm: BatchNorm, pool: bool) -> Tensor:
    """The same function as a convolution: an accelerator, which has no caches to spare, computes it faster."""
    images, weight = as_autocast_would(images.detach(), convolution.weight)
    images = images.contiguous(memory_format=torch.channels_last)
    maps = torch.conv2d(images, weight, None, convolution.stride, 1, 1, convolution.networks(weight))
    normalised: Tensor = norm(maps)
    return relu(max_pool2d(normalised, 2) if pool else normalised)


def _patches(
    images: Float[Tensor, "image channel height width"], tasks: int, stride: int
) -> Float[Tensor, "task entry image h w"]:
    """What a 3x3 filter with padding 1 sees at each place: channel x 3 x 3 entries."""
    height, width = (math.ceil(size / stride) for size in images.shape[-2:])
    of_task = pad(images, (1, 1, 1, 1)).unflatten(1, (tasks, -1)).transpose(0, 1)
    shifted = [
        of_channel[:, :, row : row + stride * height : stride, column : column + stride * width : stride]
        for of_channel in of_task.unbind(2)
        for row in range(3)
        for column in range(3)
    ]
    return torch.stack(shifted, 1)


def _statistics(patches: Patches, filters: Float[Tensor, "task filter entry"]) -> tuple[Tensor, Tensor, int]:
    """Mean and (biased) variance of each filter's values over all places, [task x filter], and the number of places."""
    with torch.autocast(patches.device.type, enabled=False):
        patches = patches.to(filters.dtype)
        mean = patches.mean(2, keepdim=True)
        centred = patches - mean
        covariance = centred @ centred.transpose(1, 2) / patches.shape[2]
        return (filters @ mean).flatten(), ((filters @ covariance) * filters).sum(2).flatten(), patches.shape[2]


class _Largest(Function):
    """(filters, patches, ...) -> at each place the largest of the products that the filters have with its patches.

    What it remembers is how far each patch surpassed those before it. `threshold_backward(a, surpassed, 0)` is then
    `a` where it did and 0 elsewhere; no other masked kernel of torch is as fast on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, filters: Filters, first: Patches, *others: Patches) -> Values:
        largest = torch.bmm(first.transpose(1, 2), filters)
        surpassed = []
        for patches in others:
            larger = torch.maximum(largest, torch.bmm(patches.transpose(1, 2), filters))
            if ctx.needs_input_grad[0]:
                surpassed.append(larger - largest)
            largest = larger
        ctx.save_for_backward(first, *others, *surpassed)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Values) -> tuple[Tensor | None, ...]:
        return _LargestBackward.apply(gradient, *ctx.saved_tensors), *[None] * (len(ctx.needs_input_grad) - 1)


class _LargestBackward(Function):
    """(gradient, patches, ..., surpassed, ...) -> gradient of the filters; linear in `gradient`."""

    @staticmethod
    def forward(ctx: Any, gradient: Values, *saved: Tensor) -> Filters:
        ctx.save_for_backward(*saved)
        patches, surpassed = saved[: len(saved) // 2 + 1], saved[len(saved) // 2 + 1 :]
        gradient = gradient.contiguous()
        parts = []
        for some, by in zip(patches[:0:-1], surpassed[::-1], strict=True):  # the last that surpassed takes it
            taken = torch.ops.aten.threshold_backward(gradient, by, 0)
            parts.append(torch.bmm(some, taken))
            gradient = gradient - taken
        return torch.stack([torch.bmm(patches[0], gradient), *parts]).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Filters) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        patches, surpassed = saved[: len(saved) // 2 + 1], saved[len(saved) // 2 + 1 :]
        change = torch.bmm(patches[0].transpose(1, 2), direction)
        for some, by in zip(patches[1:], surpassed, strict=True):
            given_up = torch.ops.aten.threshold_backward(change, by, 0)
            of_some = torch.bmm(some.transpose(1, 2), direction)
            change = change - given_up + torch.ops.aten.threshold_backward(of_some, by, 0)
        return change, *[None] * len(saved)
