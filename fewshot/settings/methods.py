"""The settings of each method: what its paper lets one choose, with the paper's value as the default."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Immutable(BaseModel):
    """Settings that can't be changed and know no names but their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProtoNetSettings(Immutable):
    """Prototypical Networks (Snell et al. 2017)."""

    name: Literal["protonet"] = "protonet"


class MatchingSettings(Immutable):
    """Matching Networks (Vinyals et al. 2016)."""

    name: Literal["matching"] = "matching"
    full_context: bool = Field(False, description="embed each image in the context of the whole support set")
    reading_steps: int = Field(5, ge=1, description="steps of the LSTM that reads the support set (full_context)")


class RelationSettings(Immutable):
    """Relation Networks (Sung et al. 2018)."""

    name: Literal["relation"] = "relation"
    hidden: int = Field(8, ge=1, description="units of the layer before the score")


class R2D2Settings(Immutable):
    """Ridge regression in closed form (Bertinetto et al. 2019)."""

    name: Literal["r2d2"] = "r2d2"


class MetaOptNetSettings(Immutable):
    """A support vector machine on embeddings (Lee et al. 2019)."""

    name: Literal["metaoptnet"] = "metaoptnet"
    penalty: float = Field(0.1, gt=0, description="C, the price of a violated margin")
    iterations: int = Field(200, ge=1, description="of the solver, at most")


class SimpleShotSettings(Immutable):
    """Nearest centroid after centring and normalising (Wang et al. 2019)."""

    name: Literal["simpleshot"] = "simpleshot"
    transform: Literal["CL2N", "L2N", "UN"] = Field("CL2N", description="centred and normalised; normalised; neither")


class FineTuneSettings(Immutable):
    """Baseline and Baseline++ (Chen et al. 2019): a new last layer for each task."""

    name: Literal["baseline", "baseline++"] = "baseline"
    steps: int = Field(100, ge=0, description="gradient steps on a task's support set")
    learning_rate: float = Field(0.01, gt=0, description="of these steps")


class MetaBaselineSettings(Immutable):
    """Meta-Baseline (Chen et al. 2021): pre-trained on all classes, then meta-trained with a scaled cosine."""

    name: Literal["metabaseline"] = "metabaseline"
    pretrain_share: float = Field(0.5, ge=0, le=1, description="share of the training steps for the first stage")


class InnerLoopSettings(Immutable):
    """What all methods have that learn a task by gradient steps."""

    inner_steps: int = Field(1, ge=0, description="inner-loop steps in meta-training")
    inner_steps_test: int = Field(3, ge=0, description="inner-loop steps when a task is learned for use")
    inner_learning_rate: float = Field(0.4, gt=0)
    ensemble: int = Field(
        1, ge=1, description="at test, learn a task so often, with other rows of the head each time, and average"
    )
    scale_to_way: bool = Field(
        False,
        description="in tasks of another way than in training, let a class count in an inner step as it did there",
    )
    batch_norm: Literal["inductive", "transductive"] = Field(
        "inductive", description="statistics for a query at test: of the support set, or of all queries together"
    )
    backend: Literal["auto", "grouped", "loop"] = Field(
        "auto", description="grouped: tasks side by side as channel groups; loop: one by one; auto: grouped if it can"
    )
    order: Literal["second", "first", "annealed"] = Field(
        "second", description="first: no gradient through the update; annealed: first, then second"
    )
    first_order_share: float = Field(0.3, ge=0, le=1, description="share of training in first order (annealed)")


class MAMLSettings(InnerLoopSettings):
    """Model-Agnostic Meta-Learning (Finn et al. 2017)."""

    name: Literal["maml"] = "maml"


class ANILSettings(InnerLoopSettings):
    """Almost No Inner Loop (Raghu et al. 2020)."""

    name: Literal["anil"] = "anil"
    inner_steps: int = Field(5, ge=0, description="inner-loop steps in meta-training; each moves the head only")
    inner_steps_test: int = Field(5, ge=0, description="inner-loop steps when a task is learned for use")


class ProtoMAMLSettings(InnerLoopSettings):
    """Proto-MAML (Triantafillou et al. 2020)."""

    name: Literal["protomaml"] = "protomaml"


class MetaSGDSettings(InnerLoopSettings):
    """Meta-SGD (Li et al. 2017); inner_learning_rate is where the learned rates start."""

    name: Literal["metasgd"] = "metasgd"


class MAMLPlusPlusSettings(InnerLoopSettings):
    """MAML++ (Antoniou et al. 2019); inner_learning_rate is where the learned rates start."""

    name: Literal["maml++"] = "maml++"
    inner_steps: int = Field(5, ge=1, description="inner-loop steps, in meta-training and in use")
    inner_steps_test: int = Field(5, ge=1, description="the same number: each step has its own rates and statistics")
    inner_learning_rate: float = Field(0.1, gt=0)
    order: Literal["second", "first", "annealed"] = "annealed"
    multi_step_share: float = Field(0.1, ge=0, le=1, description="share of training with a loss after every step")


class LearnedOptimizerSettings(InnerLoopSettings):
    """Meta-gradient descent: a meta-learner that optimizes a base learner (Andrychowicz et al. 2016)."""

    name: Literal["metalearner"] = "metalearner"
    inner_learning_rate: float = Field(0.1, gt=0, description="size of the first updates, before it has learned any")
    hidden: int = Field(16, ge=1, description="units of the meta-learner's layers")


class ReptileSettings(InnerLoopSettings):
    """Reptile (Nichol et al. 2018)."""

    name: Literal["reptile"] = "reptile"
    inner_steps: int = Field(5, ge=1, description="inner-loop steps in meta-training")
    inner_steps_test: int = Field(50, ge=0, description="inner-loop steps when a task is learned for use")
    inner_learning_rate: float = Field(0.3, gt=0)
    inner_batch: int = Field(10, ge=1, description="images of an inner step")


MethodSettings = Annotated[
    ProtoNetSettings
    | MatchingSettings
    | RelationSettings
    | R2D2Settings
    | MetaOptNetSettings
    | SimpleShotSettings
    | FineTuneSettings
    | MetaBaselineSettings
    | MAMLSettings
    | ANILSettings
    | ProtoMAMLSettings
    | MetaSGDSettings
    | MAMLPlusPlusSettings
    | LearnedOptimizerSettings
    | ReptileSettings,
    Field(discriminator="name"),
]
METHODS = (
    "protonet", "matching", "relation", "r2d2", "metaoptnet", "simpleshot", "baseline", "baseline++", "metabaseline",
    "maml", "anil", "protomaml", "metasgd", "maml++", "metalearner", "reptile",
)  # fmt: skip
"""The names of the methods."""
