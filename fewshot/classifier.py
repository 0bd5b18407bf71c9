"""A few-shot classifier for use: show it a few images of each class, then ask.

classifier = FewShotClassifier.load(model_folder)
classifier.fit([five_cats, five_dogs], ["cat", "dog"])
classifier.predict(more_images)      # ["dog", "cat", ...]
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from fewshot.errors import UsageError
from fewshot.methods.base import Head
from fewshot.model import ImageArray, Model, load_model


class _Task(NamedTuple):
    """The classes that were learned. One object, so that another thread never sees the names of other classes."""

    head: Head
    class_names: tuple[str, ...]


class FewShotClassifier:
    """A model and, after `fit`, one task that it learned."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._task: _Task | None = None

    @classmethod
    def load(cls, model_folder: str | Path, device: str = "auto", trust_code: bool = False) -> "FewShotClassifier":
        """From a model folder that training wrote. A damaged file raises DamagedFileError; for `trust_code` see
        `fewshot.load_model`."""
        return cls(load_model(model_folder, device, trust_code))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of the images that it takes."""
        return self.model.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the learned classes; empty before `fit`."""
        return self._task.class_names if self._task else ()

    def fit(self, support: Sequence[ImageArray], class_names: Sequence[str]) -> None:
        """Learn two or more classes: one or more images and a name for each. UsageError for fewer, or a name twice."""
        classes, names = len(support), len(class_names)
        if classes != names or len(set(class_names)) < max(2, names):
            [(often, times)] = Counter(class_names).most_common(1) or [("", 0)]
            twice = f", {times} of them {often!r}" if times > 1 else ""
            raise UsageError(
                f"{classes} sets of support images and {names} class names{twice}: give two or more classes, each with "
                "its own name and its own images"
            )
        self._task = _Task(self.model.fit(support, class_names), tuple(class_names))

    def predict_proba(self, query: ImageArray) -> Float32[np.ndarray, "image way"]:
        """The probability of each learned class for each image."""
        return self.model.predict_proba(self._learned().head, query)

    def predict(self, query: ImageArray) -> list[str]:
        """The name of the most probable class for each image."""
        task = self._learned()
        return [task.class_names[place] for place in self.model.predict_proba(task.head, query).argmax(-1)]

    def _learned(self) -> _Task:
        if self._task is None:
            raise UsageError("the classifier has learned no classes yet; call fit(support, class_names) first")
        return self._task
