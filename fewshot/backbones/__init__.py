"""Networks that turn an image into an embedding, behind the contract in `fewshot.backbones.base`."""

from fewshot.backbones.base import Backbone
from fewshot.settings.schema import BackboneSettings, Conv4Settings, ResNet12Settings


def build_backbone(settings: BackboneSettings, image_shape: tuple[int, int, int]) -> Backbone:
    """The network that `settings` ask for, for images of (channel, height, width), with weights of torch's generator.

    Raises UsageError when the images are too small, or the network or its weights are not known.
    """
    if isinstance(settings, Conv4Settings):
        from fewshot.backbones.conv4 import Conv4

        return Conv4(image_shape, settings)
    if isinstance(settings, ResNet12Settings):
        from fewshot.backbones.resnet12 import ResNet12

        return ResNet12(image_shape, settings)
    from fewshot.backbones.torchvision import Torchvision  # takes a second to import

    return Torchvision(image_shape, settings)
