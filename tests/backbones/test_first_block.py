"""The first block in one pass against its layers one after the other."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from fewshot.backbones.fast.first_block import image_block
from fewshot.backbones.fast.grouped_layers import BatchNorm, Convolution

TASKS = 2


class Block(nn.Module):
    """The block as `Conv4` uses it, or its layers one after the other."""

    def __init__(self, stride: int, pool: bool, in_one_pass: bool = True) -> None:
        super().__init__()
        self.convolution, self.norm = Convolution(2, 3, stride), BatchNorm(3)
        self.pool, self.in_one_pass = pool, in_one_pass

    def forward(self, images: Tensor) -> Tensor:
        if self.in_one_pass:
            return image_block(images, self.convolution, self.norm, self.pool)
        x = torch.relu(self.norm(self.convolution(images)))
        return nn.functional.max_pool2d(x, 2) if self.pool else x


def weights(block: nn.Module, tasks: int) -> dict[str, Tensor]:
    """Random weights of so many networks, scales of both signs, and their buffers."""
    stacked = {name: torch.randn(tasks * len(p), *p.shape[1:], dtype=p.dtype) for name, p in block.named_parameters()}
    buffers = {name: torch.cat([b] * tasks) if b.dim() else b.clone() for name, b in block.named_buffers()}
    return {name: tensor.requires_grad_() for name, tensor in stacked.items()} | buffers


@pytest.mark.parametrize(
    ("stride", "pool", "tasks"), [(1, True, 1), (1, True, TASKS), (2, False, 1), (2, False, TASKS)]
)
def test_values_derivatives_and_statistics_are_those_of_the_layers(stride: int, pool: bool, tasks: int) -> None:
    torch.manual_seed(0)
    block = Block(stride, pool).double()
    layers = copy.deepcopy(block)
    layers.in_one_pass = False
    images = torch.rand(3, 2 * tasks, 7, 6, dtype=torch.float64)  # max-pooling leaves the last row out
    tensors = weights(block, tasks)
    names = [name for name, _ in block.named_parameters()]
    found = []
    for network in (block, layers):
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        parameters = [own[name] for name in names]
        result = functional_call(network, own, (images,))
        first = torch.autograd.grad(result.square().sum(), parameters, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
        buffers = [own[name] for name, _ in block.named_buffers()]
        answers = functional_call(network.eval(), own, (images,))
        found.append([result, *first, *second, *buffers, answers])
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize(("stride", "pool"), [(1, True), (2, False)])
def test_derivatives_are_those_of_finite_differences(stride: int, pool: bool) -> None:
    torch.manual_seed(0)
    block = Block(stride, pool).double()
    images, tensors = torch.rand(2, 2, 4, 4, dtype=torch.float64), weights(block, 1)
    names = [name for name, _ in block.named_parameters()]

    def call(*parameters: Tensor) -> Tensor:
        result: Tensor = functional_call(block, dict(zip(names, parameters, strict=True)), (images,))
        return result

    parameters = [tensors[name] for name in names]
    assert gradcheck(call, parameters)
    assert gradgradcheck(call, parameters)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_equal_values_of_a_pool_teach_as_in_max_pooling(training: bool, precision: torch.dtype) -> None:
    # Omniglot is mostly blank: most pools see four equal values, of which max-pooling takes the first.
    torch.manual_seed(0)
    block = Block(1, pool=True).train(training)
    layers = copy.deepcopy(block)
    layers.in_one_pass = False
    images = torch.zeros(4, 2, 8, 8)
    images[:, :, 2:4] = 1
    gradients = []
    for network in (block, layers):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            result = network(images)
        direction = torch.linspace(-1, 1, result.numel()).reshape(result.shape)
        gradients.append(torch.autograd.grad((result.float() * direction).sum(), list(network.parameters())))
    # Single numbers of bfloat16, sums that nearly cancel, differ by more from processor to processor.
    most = 1e-4 if precision == torch.float32 else 0.05
    for mine, expected in zip(*gradients, strict=True):
        error = float((mine - expected).norm() / expected.norm())
        assert error < most
