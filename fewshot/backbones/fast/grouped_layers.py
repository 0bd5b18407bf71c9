"""Convolution and batch normalisation as torch computes them, made for meta-learning in two ways.

*Tasks as channel groups.* Given the images of T tasks side by side in the channels, [image, T x channel, height,
width], and the weights of T networks stacked along their first axis, each layer computes T networks at once: a
grouped convolution is as fast for each group as one for itself, and everything else already works channel by channel.
The layers see T from the weights' shape, so a network is written once, for one task.

*Second derivatives.* MAML differentiates through a gradient. torch builds the second derivative of a batch
normalisation from some twenty passes over its input, and that of a convolution from convolutions of odd shapes; here
both are a closed formula made of the fast kernels.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Convolution(nn.Conv2d):
    """A 3x3 convolution with padding 1 and no bias, for one network or for T in groups."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image filter h w"]:
        x, weight = as_autocast_would(x, self.weight)
        x = x.contiguous(memory_format=torch.channels_last)
        result: Tensor = _Convolve.apply(x, weight, self.stride, self.networks(weight))
        return result

    def networks(self, weight: Tensor) -> int:
        """T, from the shape of the weights."""
        return len(weight) // self.out_channels


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe & Szegedy 2015); running statistics are updated as nn.BatchNorm2d does it."""

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
        if not self.training:
            return super().forward(x)
        normalised: Tensor
        normalised, mean, inverse_std = _Normalise.apply(x, self.weight, self.bias, self.eps)
        self.update_running_statistics(mean, inverse_std.pow(-2) - self.eps, x.numel() // x.shape[1])
        return normalised

    @torch.no_grad()
    def update_running_statistics(
        self, mean: Float[Tensor, "channel"], variance: Float[Tensor, "channel"], count: int
    ) -> None:
        """Take the statistics of a batch, `variance` over its `count` values, into the running ones."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked.add_(1)


class _Convolve(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.groups = stride, groups
        return torch.conv2d(x, weight, None, stride, 1, 1, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return (*_ConvolveBackward.apply(gradient, *ctx.saved_tensors, ctx.stride, ctx.groups), None, None)


class _ConvolveBackward(Function):
    """(gradient, x, weight) -> (dx, dweight). Each result is linear in `gradient` and in one of the others."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], groups: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(gradient, x, weight)
        ctx.stride, ctx.groups = stride, groups
        dx, dweight = _gradients(gradient, x, weight, stride, groups, (True, True))
        return dx, dweight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        gradient, x, weight = ctx.saved_tensors
        how = (ctx.stride, ctx.groups)
        u, v = u.contiguous(memory_format=torch.channels_last), v.contiguous(memory_format=torch.channels_last)
        to_gradient = torch.conv2d(u, weight, None, ctx.stride, 1, 1, ctx.groups)
        to_gradient += torch.conv2d(x, v, None, ctx.stride, 1, 1, ctx.groups)
        to_x, _ = _gradients(gradient, x, v, *how, (True, False))
        _, to_weight = _gradients(gradient, u, weight, *how, (False, True))
        return to_gradient, to_x, to_weight, None, None


class _Normalise(Function):
    """(x, weight, bias, eps) -> (normalised, mean, 1 / standard deviation)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        normalised, mean, inverse_std = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.mark_non_differentiable(mean, inverse_std)
        ctx.eps = eps
        return normalised, mean, inverse_std

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gradient = gradient.contiguous(memory_format=torch.channels_last)  # without it this takes 10 times as long
        return (*_NormaliseBackward.apply(gradient, *ctx.saved_tensors, ctx.eps), None)


class _NormaliseBackward(Function):
    """(gradient, x, weight, mean, inverse_std) -> (dx, dweight, dbias)."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(gradient, x, weight, mean, inverse_std)
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse_std, True, eps, [True, True, True]
        )
        return dx, dweight, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        """What stands against dx, dweight and dbias is u, a and b. Let g be the gradient, z the normalised x, s the
        inverse standard deviation, k = weight s, and m the mean over image, height and width. Then

            dx = k (g - m(g) - z m(gz)),  dweight = n m(gz),  dbias = n m(g),

        and z changes with x as dz = s (dx - m(dx) - z m(z dx)), s as ds = -s^2 m(z dx).
        """
        gradient, x, weight, mean, s = ctx.saved_tensors
        u = u.contiguous(memory_format=torch.channels_last)
        g, u = _rows(gradient), _rows(u)
        z = torch.addcmul(-mean * s, _rows(x), s)
        m_g, m_u = g.mean(0), u.mean(0)
        m_gz, m_uz, m_ug = (g * z).mean(0), (u * z).mean(0), (u * g).mean(0)
        k = weight * s
        m_udx = m_ug - m_u * m_g - m_uz * m_gz  # of dx / k
        c = a - k * m_uz
        to_gradient = torch.addcmul(b - k * m_u, u, k).addcmul_(z, c)
        to_weight = len(z) * s * m_udx
        # Against z stands h = c g - k m(gz) u.
        m_h = c * m_g - k * m_gz * m_u
        m_hz = c * m_gz - k * m_gz * m_uz
        to_x = torch.addcmul(-s * m_h, g, s * c).addcmul_(u, -s * k * m_gz).addcmul_(z, -s * (m_hz + k * m_udx))
        return _maps(to_gradient, gradient), _maps(to_x, x), to_weight, None, None, None


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], groups: int, wanted: tuple[bool, bool]
) -> tuple[Any, Any]:
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, (1, 1), (1, 1), False, (0, 0), groups, (*wanted, False)
    )
    return dx, dweight


def _rows(maps: Tensor) -> Float[Tensor, "place channel"]:
    """One row for each place of each image, in float32; no copy if `maps` is float32 and channels last."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).to(torch.promote_types(maps.dtype, torch.float32))


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    image, channel, height, width = like.shape
    return rows.to(like.dtype).reshape(image, height, width, channel).permute(0, 3, 1, 2)


def as_autocast_would(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the number format that autocast chooses for a convolution."""
    kind = tensors[0].device.type
    wanted = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensors[0].dtype
    return [tensor.to(wanted) for tensor in tensors]


def computes_groups(network: nn.Module) -> bool:
    """Whether every convolution of `network` can compute T networks as channel groups."""
    return all(isinstance(layer, Convolution) for layer in network.modules() if isinstance(layer, nn.Conv2d))
