"""Meta-learners, one a file, behind the contract in `fewshot.methods.base`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from fewshot.backbones import build_backbone
from fewshot.backbones.base import Backbone
from fewshot.methods.anil import ANIL
from fewshot.methods.base import Method
from fewshot.methods.baseline import Baseline, BaselinePlusPlus
from fewshot.methods.learned_optimizer import LearnedOptimizer
from fewshot.methods.maml import MAML
from fewshot.methods.mamlpp import MAMLPlusPlus
from fewshot.methods.matching import Matching
from fewshot.methods.metabaseline import MetaBaseline
from fewshot.methods.metaoptnet import MetaOptNet
from fewshot.methods.metasgd import MetaSGD
from fewshot.methods.protomaml import ProtoMAML
from fewshot.methods.protonet import ProtoNet
from fewshot.methods.r2d2 import R2D2
from fewshot.methods.relation import Relation
from fewshot.methods.reptile import Reptile
from fewshot.methods.simpleshot import SimpleShot
from fewshot.randomness import torch_seed
from fewshot.settings.schema import Settings


class MethodContext(NamedTuple):
    """What a method is built from."""

    backbone: Backbone
    settings: Any
    """The settings of this method."""
    way: int
    """Classes of a training episode."""
    shot: int
    """Support images of each."""
    classes: int
    """Classes of the training part."""


BUILDERS: dict[str, Callable[[MethodContext], Method]] = {
    "protonet": lambda given: ProtoNet(given.backbone),
    "matching": lambda given: Matching(given.backbone, given.settings),
    "relation": lambda given: Relation(given.backbone, given.shot, given.settings),
    "r2d2": lambda given: R2D2(given.backbone),
    "metaoptnet": lambda given: MetaOptNet(given.backbone, given.settings),
    "simpleshot": lambda given: SimpleShot(given.backbone, given.classes, given.settings),
    "baseline": lambda given: Baseline(given.backbone, given.classes, given.settings),
    "baseline++": lambda given: BaselinePlusPlus(given.backbone, given.classes, given.settings),
    "metabaseline": lambda given: MetaBaseline(given.backbone, given.classes, given.settings),
    "maml": lambda given: MAML(given.backbone, given.way, given.settings),
    "anil": lambda given: ANIL(given.backbone, given.way, given.settings),
    "protomaml": lambda given: ProtoMAML(given.backbone, given.way, given.settings),
    "metasgd": lambda given: MetaSGD(given.backbone, given.way, given.settings),
    "maml++": lambda given: MAMLPlusPlus(given.backbone, given.way, given.settings),
    "metalearner": lambda given: LearnedOptimizer(given.backbone, given.way, given.settings),
    "reptile": lambda given: Reptile(given.backbone, given.way, given.settings),
}
"""By the names of `fewshot.settings.methods`."""


def build_method(settings: Settings, image_shape: tuple[int, int, int], classes: int = 1) -> Method:
    """The meta-learner that `settings` ask for, for images of (channel, height, width), freshly initialised.

    `classes` is the number of classes of the training part. The initial weights depend on `settings.seed` alone; the
    global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(settings.seed, "initial weights"))
        backbone = build_backbone(settings.backbone, image_shape)
        episode = settings.train.episode
        given = MethodContext(backbone, settings.method, episode.way, episode.shot, classes)
        return BUILDERS[settings.method.name](given)
