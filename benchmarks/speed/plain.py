"""Conv-4 as the papers draw it: the network that the peers are given."""

import torch
from torch import Tensor, nn

from benchmarks.speed.cases import CHANNELS, IMAGE_SHAPE, Case


class PlainConv4(nn.Module):
    """Four blocks of convolution, batch normalisation, ReLU and max-pooling (or stride 2, then the mean), in NCHW.

    Vinyals et al. 2016, section 4.1; strided as in the code of Finn et al. 2017. The convolutions have no bias: the
    batch normalisation subtracts it, so that leaving it out changes nothing and saves the peers time.
    """

    def __init__(self, form: str, running_statistics: bool) -> None:
        """Without `running_statistics` batch normalisation uses those of the batch at hand, always."""
        super().__init__()
        pool = form == "pool"
        layers: list[nn.Module] = []
        before = IMAGE_SHAPE[0]
        for _ in range(4):
            layers.append(nn.Conv2d(before, CHANNELS, 3, stride=1 if pool else 2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(CHANNELS, track_running_stats=running_statistics), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
            before = CHANNELS
        self.layers = nn.Sequential(*layers)
        self.pool = pool

    def forward(self, images: Tensor, **_: object) -> Tensor:
        """Embeddings [image, feature]. parallel-metalearn also passes `training` and `num_step`, unused here."""
        maps: Tensor = self.layers(images)
        return maps.flatten(1) if self.pool else maps.mean((2, 3))


class PlainLinear(nn.Linear):
    """A linear layer that ignores what parallel-metalearn passes besides the features."""

    def forward(self, input: Tensor, **_: object) -> Tensor:
        """Logits [image, way] of features [image, feature]."""
        return super().forward(input)


def classifier(case: Case, weights: dict[str, Tensor]) -> nn.Sequential:
    """The network of MAML: Conv-4 under the statistics of the batch at hand, and a linear layer."""
    network = nn.Sequential(PlainConv4(case.form, running_statistics=False), PlainLinear(CHANNELS, case.shape.way))
    load(network, weights)
    return network


def embedding(case: Case, weights: dict[str, Tensor], running_statistics: bool = True) -> PlainConv4:
    """The network of ProtoNet: Conv-4 with running statistics for evaluation."""
    network = PlainConv4(case.form, running_statistics)
    load(network, weights)
    return network


@torch.no_grad()
def load(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fill a network with the weights of `inputs.make_weights`, its layers taken in order."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for block, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        convolution.weight.copy_(weights[f"convolution.{block}"])
        norm.weight.copy_(weights[f"scale.{block}"])
        norm.bias.copy_(weights[f"shift.{block}"])
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(weights[f"mean.{block}"])
            norm.running_var.copy_(weights[f"variance.{block}"])
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(weights["linear"])
            layer.bias.copy_(weights["bias"])


def gradient_norm(network: nn.Module) -> float:
    """The norm of the whole gradient that the last backward pass left."""
    return float(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm())
