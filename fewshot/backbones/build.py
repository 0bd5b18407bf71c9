"""Build a backbone from settings. The chosen one is imported by name, so that no training depends on the others."""

from fewshot.backbones.base import Backbone
from fewshot.settings.base import BackboneSettings
from fewshot.settings.plugins import find


def build_backbone(settings: BackboneSettings, image_shape: tuple[int, int, int]) -> Backbone:
    """The network that `settings` ask for, for images of (channel, height, width), with weights of torch's generator.

    Raises UsageError when the images are too small, or the network or its weights are unknown.
    """
    backbone: Backbone = find("backbone", settings.name)(image_shape, settings)
    return backbone
