"""Build a method from settings. The chosen one is imported by name, so that no training depends on the others."""

import re

import torch

from fewshot.backbones.build import build_backbone
from fewshot.errors import UsageError
from fewshot.methods.base import Method, MethodContext
from fewshot.randomness import torch_seed
from fewshot.settings.plugins import find
from fewshot.settings.schema import Settings

_TOO_LARGE = re.compile("overflow|allocat|out of memory|failed to unpack", re.IGNORECASE)
"""Words of torch on sizes that no machine holds, in errors of several types."""


def build_method(settings: Settings, image_shape: tuple[int, int, int], classes: int = 1) -> Method:
    """The freshly initialised method that `settings` ask for, for images of (channel, height, width).

    `classes` is the number of classes of the train split. The initial weights depend on `settings.seed` alone; the
    global generator is left as it was. UsageError if no memory holds what the settings ask for, and if the method needs
    training classes and there are none.
    """
    try:
        return _built(settings, image_shape, classes)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        if not isinstance(error, (OverflowError, MemoryError)) and not _TOO_LARGE.search(str(error)):
            raise
        raise UsageError(
            f"a {settings.method.name} on {settings.backbone.name} of these settings does not fit in memory "
            f"({str(error).partition(chr(10))[0] or type(error).__name__}); lower backbone.channels or what else "
            "makes it large"
        ) from error


def _built(settings: Settings, image_shape: tuple[int, int, int], classes: int) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(settings.seed, "initial weights"))
        backbone = build_backbone(settings.backbone, image_shape)
        episode = settings.train.episode
        context = MethodContext(backbone, settings.method, episode.way, episode.shot, classes)
        kind: type[Method] = find("method", settings.method.name)
        if kind.needs_classes and not classes:
            raise UsageError(
                f"method.name={settings.method.name} learns to tell training classes apart, but there are none; choose "
                "a method that needs none, such as method.name=protonet, or a split scheme with train classes"
            )
        return kind.build(context)
