"""The settings of the methods with an inner loop."""

from typing import Literal

from pydantic import Field

from fewshot.settings.base import MethodSettings


class InnerLoopSettings(MethodSettings):
    """The settings of all methods that learn a task by gradient steps."""

    inner_steps: int = Field(1, ge=0, description="inner-loop steps in meta-training")
    inner_steps_test: int = Field(3, ge=0, description="inner-loop steps at test time")
    inner_learning_rate: float = Field(0.4, gt=0)
    ensemble: int = Field(
        1,
        ge=1,
        description="number of adapted copies per task at test time; each assigns the classes to different head rows, "
        "and their probabilities are averaged",
    )
    scale_to_way: bool = Field(
        False,
        description="when the test way differs from the training way, scale the inner loss by way / training way, so "
        "that each class contributes as much per step as in training",
    )
    batch_norm: Literal["inductive", "transductive"] = Field(
        "inductive", description="statistics for a query at test time: of the support set, or of all queries together"
    )
    backend: Literal["auto", "grouped", "loop"] = Field(
        "auto", description="grouped: tasks at once as channel groups; loop: one by one; auto: grouped if possible"
    )
    order: Literal["second", "first", "annealed"] = Field(
        "second", description="first: no gradient through the inner gradient; annealed: first, then second"
    )
    first_order_share: float = Field(0.3, ge=0, le=1, description="share of training in first order (annealed)")
