"""Build a method from settings. The chosen one is imported by name, so that no training depends on the others."""

import torch

from fewshot.backbones.build import build_backbone
from fewshot.methods.base import Method, MethodContext
from fewshot.randomness import torch_seed
from fewshot.settings.plugins import find
from fewshot.settings.schema import Settings


def build_method(settings: Settings, image_shape: tuple[int, int, int], classes: int = 1) -> Method:
    """The freshly initialised method that `settings` ask for, for images of (channel, height, width).

    `classes` is the number of classes of the train split. The initial weights depend on `settings.seed` alone; the
    global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(settings.seed, "initial weights"))
        backbone = build_backbone(settings.backbone, image_shape)
        episode = settings.train.episode
        context = MethodContext(backbone, settings.method, episode.way, episode.shot, classes)
        method: Method = find("method", settings.method.name).build(context)
        return method
