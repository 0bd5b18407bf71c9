"""The settings of meta-training."""

from typing import Literal

from pydantic import Field

from fewshot.settings.base import Immutable
from fewshot.settings.episode_shape import EpisodeShape, Shape


class AugmentSettings(Immutable):
    """Random changes of training images, drawn anew in each step; validation and test images stay as they are."""

    crop: int = Field(
        0, ge=0, le=64, description="pixels of zero-padding around an image that it is randomly cropped from; 0: off"
    )
    flip: bool = Field(
        False,
        description="mirror half of the images, at random; for photographs only: a mirrored character is another "
        "character, or none",
    )
    jitter: float = Field(
        0.0, ge=0, le=1, description="scale brightness, contrast and saturation by up to this share; 0: off"
    )
    of: Literal["both", "support", "query"] = Field("both", description="which images of an episode are changed")

    @property
    def is_on(self) -> bool:
        """True if anything is changed."""
        return bool(self.crop or self.flip or self.jitter)


class TrainSettings(Immutable):
    """Meta-training: gradient steps on episodes, with validation, early stopping and checkpoints."""

    episode: Shape = Field(EpisodeShape(20, 1, 5), description="shape of a training episode")
    augment: AugmentSettings = AugmentSettings()
    tasks: int = Field(1, ge=1, description="episodes (tasks) in one step")
    steps: int = Field(1000, ge=0, description="gradient steps; 0: use the method as it is, on a pretrained backbone")
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
