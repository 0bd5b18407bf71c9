"""Networks that turn an image into an embedding, behind the interface in `fewshot.backbones.base`."""

BACKBONES = {
    "conv4": "fewshot.backbones.conv4:Conv4",
    "resnet12": "fewshot.backbones.resnet12:ResNet12",
    "torchvision": "fewshot.backbones.torchvision:Torchvision",
    "timm": "fewshot.backbones.timm:Timm",
    "lite0": "fewshot.backbones.lite0:Lite0",
}
"""Name -> module:Class. The first is the default. A backbone is imported when it is chosen, and no other one is."""
