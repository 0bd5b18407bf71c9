"""ANIL (Raghu, Raghu, Bengio & Vinyals 2020, "Rapid learning or feature reuse?"): almost no inner loop.

As MAML, but a task changes the head alone: features are reused, not relearned.
"""

from typing import ClassVar

from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from fewshot.methods.descent import InnerLoss
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.maml import MAML
from fewshot.methods.stacked_network import Images, Weights, linear


class ANILSettings(InnerLoopSettings):
    """Almost No Inner Loop (Raghu et al. 2020)."""

    inner_steps: int = Field(5, ge=0, description="inner-loop steps in meta-training; each moves the head only")
    inner_steps_test: int = Field(5, ge=0, description="inner-loop steps at test time")


class ANIL(MAML):
    """The inner loop of section 4.1: the support set is embedded once, each step only moves the linear layer.

    The backbone still learns in the outer loop, through the embeddings of the support set and of the queries.
    """

    Settings: ClassVar = ANILSettings

    def is_adapted(self, name: str) -> bool:
        return name.startswith("head.")

    def inner_loss(self, start: Weights, images: Images, labels: Int64[Tensor, "image"]) -> InnerLoss:
        features = self.features(start, images, step=0)
        return lambda weights, step: self.support_loss(linear(weights, features), labels)
