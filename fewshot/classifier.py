"""A few-shot classifier for use: show it a few images of each class, then ask.

classifier = FewShotClassifier.load(model_folder)
classifier.fit([five_cats, five_dogs], ["cat", "dog"])
classifier.predict(more_images)      # ["dog", "cat", ...]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from fewshot.errors import UsageError
from fewshot.methods.base import Head, Method
from fewshot.model import compute_of, describe_model, load_model
from fewshot.system.device import Compute, keep_freed_memory, pick_device

Images = np.ndarray
"""uint8 [image, channel, height, width]; checked when it comes in, because it is a user's."""


class FewShotClassifier:
    """A meta-trained method and, after `fit`, one task that it learned."""

    def __init__(self, method: Method, image_shape: tuple[int, int, int], compute: Compute) -> None:
        """`image_shape` is the (channel, height, width) of the images that the method was trained on."""
        self.method, self.image_shape, self.compute = method, image_shape, compute
        self.class_names: tuple[str, ...] = ()
        self._head: Head | None = None

    @classmethod
    def load(cls, model_folder: str | Path, device: str = "auto") -> "FewShotClassifier":
        """From a model folder that training wrote. A damaged file raises DamagedFileError."""
        model_folder = Path(model_folder)
        keep_freed_memory()
        chosen = pick_device(device)
        shape = tuple(describe_model(model_folder)["image_shape"])
        return cls(load_model(model_folder, chosen), shape, compute_of(model_folder, chosen))

    def fit(self, support: Sequence[Images], class_names: Sequence[str]) -> None:
        """Learn the classes: for each one or more images, and a name. Two classes at least."""
        if len(support) != len(class_names) or len(set(class_names)) < max(2, len(class_names)):
            raise UsageError(
                f"{len(support)} sets of support images and the class names {list(class_names)}: "
                "give two or more classes, each with its own name and its own images"
            )
        tensors = [self._tensor(images, f"support images of class '{name}'") for images, name in
                   zip(support, class_names, strict=True)]  # fmt: skip
        with torch.no_grad(), self.compute.autocast():
            self._head = self.method.fit(tensors)
        self.class_names = tuple(class_names)

    def predict_proba(self, query: Images) -> Float32[np.ndarray, "image way"]:
        """The probability of each learned class for each image."""
        if self._head is None:
            raise UsageError("the classifier has learned no classes yet; call fit(support, class_names) first")
        with torch.no_grad(), self.compute.autocast():
            logits = self.method.predict(self._head, self._tensor(query, "query images"))
        return logits.softmax(-1).cpu().numpy()

    def predict(self, query: Images) -> list[str]:
        """The name of the most probable class for each image."""
        return [self.class_names[place] for place in self.predict_proba(query).argmax(-1)]

    def _tensor(self, images: Images, what: str) -> Tensor:
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape or not len(images):
            raise UsageError(
                f"{what}: {images.dtype} {images.shape}, but the model takes uint8 [image, channel, height, width] "
                f"with one or more images of {self.image_shape}"
            )
        return torch.from_numpy(np.array(images)).to(self.compute.device).float() / 255
