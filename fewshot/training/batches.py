"""The batch of each training step: a function of the step alone, whatever came before it."""

from fewshot.data.augment import Augment
from fewshot.data.batches import EpisodeBatch, ImageBank
from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.settings.schema import Settings


class TrainingBatches:
    """Batches of training episodes, augmented if `train.augment` asks for it."""

    def __init__(self, settings: Settings, dataset: Dataset, bank: ImageBank) -> None:
        """Raises what `training_sampler` and `Augment` raise."""
        self._tasks, self._bank, self._sampler = settings.train.tasks, bank, training_sampler(settings, dataset)
        augment = settings.train.augment
        self._augment = Augment(augment, settings.seed, bank.image_shape) if augment.is_on else None

    def __call__(self, step: int) -> EpisodeBatch:
        """The batch of a step, counted from 0."""
        batch = self._bank.batch(self._sampler.sample(step * self._tasks, self._tasks))
        return self._augment(batch, step) if self._augment else batch


def training_sampler(settings: Settings, dataset: Dataset) -> EpisodeSampler:
    """The sampler of training episodes; raises DataError if the training classes can't fill one."""
    return EpisodeSampler(dataset.class_table("train"), settings.train.episode, settings.seed, "train")
