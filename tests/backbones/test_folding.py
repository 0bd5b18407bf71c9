"""Batch normalisation folded into convolutions: the same embeddings, by weights that follow the network's own."""

import copy

import pytest
import timm
import torch
from encoder_files import CONVOLUTIONAL, made_weights
from torch import Tensor, nn

from fewshot.backbones.folding import FoldedCopy


def network(name: str) -> nn.Module:
    made = timm.create_model(name, num_classes=0)
    made.load_state_dict(made_weights(name), strict=False)
    return made.eval()


def layers(of: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in of.modules())


@pytest.mark.parametrize("name", [CONVOLUTIONAL, "test_resnet", "resnetv2_18", "densenet121"])
def test_embeddings_stay_and_so_does_the_network(name: str) -> None:
    own, image = network(name), torch.rand(2, 3, 64, 64)
    before = {key: tensor.clone() for key, tensor in own.state_dict().items()}
    folded = FoldedCopy().of(own, 64)
    with torch.no_grad():
        torch.testing.assert_close(folded(image), own(image), rtol=1e-3, atol=1e-3)
    assert layers(folded) < layers(own)
    assert all(torch.equal(tensor, before[key]) for key, tensor in own.state_dict().items())


class Between(nn.Module):
    """A network that computes something between a convolution and its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.3)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.norm(self.convolution(images).relu()).mean((2, 3))
        return embedding


def test_a_network_that_folding_would_change_is_left_as_it_is() -> None:
    own = Between().eval()
    assert FoldedCopy().of(own, 16) is own


def test_new_weights_are_folded_anew_and_those_of_a_task_not_at_all() -> None:
    own, image, copies = network(CONVOLUTIONAL), torch.rand(1, 3, 64, 64), FoldedCopy()
    first = copies.of(own, 64)
    assert copies.of(own, 64) is first
    own.load_state_dict(made_weights(CONVOLUTIONAL, seed=1), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(copies.of(own, 64)(image), own(image), rtol=1e-3, atol=1e-3)
    assert copy.deepcopy(copies)._made is None
    assert copies.of(copy.deepcopy(own).to("meta"), 64).get_parameter("conv_stem.weight").is_meta
    found = []
    own.register_forward_pre_hook(lambda module, _: found.append(copies.of(module, 64) is own))
    with torch.no_grad():
        torch.func.functional_call(own, {"conv_stem.weight": torch.zeros_like(own.conv_stem.weight)}, (image,))
    assert found == [True]
