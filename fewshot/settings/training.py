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
    learning_rate: float = Field(1e-3, gt=0, description="Adam's")
    schedule: Literal["constant", "cosine", "halving"] = "cosine"
    halve_every: int = Field(2000, ge=1, description="steps; for schedule = halving")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the whole gradient")
    validate_every: int = Field(250, ge=1, description="steps between meta-validations")
    validation: Shape = Field(EpisodeShape(5, 1, 15), description="shape of the fixed meta-validation episodes")
    validation_episodes: int = Field(200, ge=2)
    patience: int = Field(0, ge=0, description="stop after so many validations without a better one; 0: never")
    checkpoint_every: int = Field(100, ge=1, description="steps")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is faster")
