"""Two models on the same gate episodes, none of whose classes either was trained on."""

from collections.abc import Sequence

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices, EpisodeSampler
from fewshot.data.pack import unrotated
from fewshot.data.splits import class_table
from fewshot.errors import DataError
from fewshot.evaluation.banks import Banks
from fewshot.evaluation.predictions import EpisodePredictions, predict_episodes
from fewshot.model import Model, ModelDescription
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import GateSettings


def compare(
    champion: Model, challenger: Model, dataset: Dataset, gate: GateSettings
) -> tuple[EpisodePredictions, EpisodePredictions, tuple[str, ...]]:
    """The predictions of both models on the same gate episodes, and the classes that were left out.

    These are the fixed ones, unless one of the models was trained on a class that is now the gate's: then as many are
    sampled from the other classes. Raises DataError if too few are left.
    """
    models = (champion, challenger)
    episodes, left_out = gate_episodes(dataset, [model.description for model in models], gate.shape, gate.episodes)
    old, new = (_predictions(of, dataset, episodes) for of in models)
    return old, new, left_out


def _predictions(model: Model, dataset: Dataset, episodes: EpisodeIndices) -> EpisodePredictions:
    bank = Banks(model.method, dataset, model.compute).of(dataset.gate)
    return predict_episodes(model.method, bank, episodes, model.method.batch_norm_modes[0], model.compute)


def gate_episodes(
    dataset: Dataset, models: Sequence[ModelDescription], shape: EpisodeShape, number: int
) -> tuple[EpisodeIndices, tuple[str, ...]]:
    """Episodes that none of the models has seen the classes of, and the gate's classes that are left out for it."""
    seen = {unrotated(name) for of in models if of.data.dataset == dataset.name for name in of.data.classes}
    names = dataset.class_names(dataset.gate)
    left_out = tuple(name for name in names if unrotated(name) in seen)
    if not left_out:
        return dataset.fixed_episodes(dataset.gate, shape, number), ()
    others = [name for name in names if name not in left_out]
    if len(others) < shape.way:
        raise DataError(
            f"{len(left_out)} of the {len(names)} gate classes were trained on by one of the models; {len(others)} are "
            f"left, too few for {shape}. Lower the way of gate.shape, or give the gate more classes"
        )
    sampler = EpisodeSampler(class_table(dataset.pack.classes, others), shape, 0, "gate")
    return sampler.sample(0, number), left_out
