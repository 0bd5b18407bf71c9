"""The layers against torch's own: values, first and second derivatives, and T networks at once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from fewshot.backbones.fast.grouped_layers import BatchNorm, Convolution, computes_groups

TASKS = 2


def convolve(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, weight: functional_call(layer, {"weight": weight}, (x,))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("tasks", [1, TASKS])
def test_convolution_is_torchs_in_value_and_two_derivatives(stride: int, tasks: int) -> None:
    torch.manual_seed(0)
    layer = Convolution(2, 3, stride).double()
    x, weight = random(2, 2 * tasks, 5, 6), random(3 * tasks, 2, 3, 3)
    expected = torch.conv2d(x, weight, None, stride, 1, 1, tasks)
    torch.testing.assert_close(convolve(layer)(x, weight), expected)
    assert gradcheck(convolve(layer), (x, weight))
    assert gradgradcheck(convolve(layer), (x, weight))


@pytest.mark.parametrize("eps", [1e-5, 0.5])  # the second, far from negligible, would show a formula that forgets it
def test_batch_norm_is_torchs_in_value_and_two_derivatives(eps: float) -> None:
    torch.manual_seed(0)
    layer, reference = BatchNorm(3, eps=eps).double(), nn.BatchNorm2d(3, eps=eps).double()
    x, weight, bias = random(4, 3, 2, 3), random(3), random(3)

    def normalise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result: Tensor = functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return result

    expected = functional_call(reference, {"weight": weight, "bias": bias}, (x,))
    torch.testing.assert_close(normalise(x, weight, bias), expected)
    assert gradcheck(normalise, (x, weight, bias))
    assert gradgradcheck(normalise, (x, weight, bias))


def test_batch_norm_keeps_the_running_statistics_that_torch_keeps() -> None:
    torch.manual_seed(0)
    layer, reference = BatchNorm(3), nn.BatchNorm2d(3)
    for _ in range(3):
        x = 2 * torch.randn(4, 3, 5, 5) + 1
        layer(x), reference(x)
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(layer.get_buffer(name), buffer)
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(layer.eval()(x), reference.eval()(x))


def test_an_image_of_one_value_a_channel_has_finite_running_statistics() -> None:
    layer = BatchNorm(3)
    layer(torch.randn(1, 3, 1, 1))
    assert layer.running_var.isfinite().all()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_two_networks_side_by_side_equal_two_networks(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(Convolution(1, 4, 1), BatchNorm(4), nn.ReLU(), Convolution(4, 4, 2), BatchNorm(4))
    weights = [
        {name: torch.randn_like(p) for name, p in layers.named_parameters()}
        | {name: b.clone() for name, b in layers.named_buffers()}
        for _ in range(TASKS)
    ]
    images = torch.rand(TASKS, 5, 1, 8, 8)
    stacked = {name: torch.cat([w[name] for w in weights]) if t.dim() else t for name, t in weights[0].items()}
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        together = functional_call(layers, stacked, images.transpose(0, 1).flatten(1, 2))
        alone = [functional_call(layers, w, of_task) for w, of_task in zip(weights, images, strict=True)]
    close = {"rtol": 1e-4, "atol": 1e-4} if precision == torch.float32 else {"rtol": 5e-2, "atol": 5e-2}
    torch.testing.assert_close(together, torch.cat(alone, dim=1), **close)


def test_only_networks_made_of_these_layers_compute_groups() -> None:
    assert computes_groups(nn.Sequential(Convolution(1, 1, 1), nn.BatchNorm2d(1)))
    assert not computes_groups(nn.Sequential(Convolution(1, 1, 1), nn.Conv2d(1, 1, 3)))
