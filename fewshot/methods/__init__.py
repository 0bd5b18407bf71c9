"""Meta-learners, one a file, behind the contract in `fewshot.methods.contract`."""

import torch

from fewshot.backbones.conv4 import Conv4
from fewshot.config import MAMLSettings, Settings
from fewshot.methods.contract import Method
from fewshot.methods.maml import MAML
from fewshot.methods.protonet import ProtoNet
from fewshot.randomness import torch_seed


def build_method(settings: Settings, image_shape: tuple[int, int, int]) -> Method:
    """The meta-learner that `settings` ask for, for images of (channel, height, width), freshly initialised.

    The initial weights depend on `settings.seed` alone; the global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(settings.seed, "initial weights"))
        backbone = Conv4(image_shape, settings.backbone)
        if isinstance(settings.method, MAMLSettings):
            return MAML(backbone, backbone.out_features, settings.train.episode.way, settings.method)
        return ProtoNet(backbone)
