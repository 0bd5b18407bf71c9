"""The settings of meta-training."""

from typing import Literal

from pydantic import Field

from fewshot.settings.base import Immutable
from fewshot.settings.episode_shape import EpisodeShape, Shape


class TrainSettings(Immutable):
    """Meta-training: Adam over episodes, with validation, early stopping and checkpoints."""

    episode: Shape = Field(EpisodeShape(20, 1, 5), description="shape of a training episode")
    tasks: int = Field(1, ge=1, description="episodes (tasks) in one step")
    steps: int = Field(1000, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adam", description="adam; adamw: Adam with decoupled weight decay; sgd: with Nesterov's momentum"
    )
    learning_rate: float = Field(1e-3, gt=0, description="of the outer loop")
    momentum: float = Field(0.9, ge=0, lt=1, description="for optimizer = sgd; 0: none")
    schedule: Literal["constant", "cosine", "halving"] = "cosine"
    halve_every: int = Field(2000, ge=1, description="steps; for schedule = halving")
    warmup: int = Field(
        0, ge=0, description="first steps, in which the learning rate grows linearly to that of the schedule"
    )
    backbone_rate: float = Field(
        1.0, gt=0, description="learning rate of the backbone, as a multiple of learning_rate; for fine-tuning"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate for each block towards the image; 1: one rate for all"
    )
    weight_decay: float = Field(
        0.0, ge=0, description="added to the gradient as weight_decay x weight; in adamw, taken off the weight itself"
    )
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the whole gradient")
    validate_every: int = Field(250, ge=1, description="steps between meta-validations")
    validation: Shape = Field(EpisodeShape(5, 1, 15), description="shape of the fixed meta-validation episodes")
    validation_episodes: int = Field(200, ge=2)
    patience: int = Field(0, ge=0, description="stop after so many validations without a better one; 0: never")
    checkpoint_every: int = Field(100, ge=1, description="steps")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is faster")
