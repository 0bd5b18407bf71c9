"""The base of methods that first learn to tell all training classes apart, as a plain classifier does."""

from torch import nn
from torch.nn.functional import cross_entropy

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import LossAndAccuracy
from fewshot.methods.embedding import EmbeddingMethod


class Supervised(EmbeddingMethod):
    """Cross-entropy over all training classes. An episode is only a batch here: its support and query are alike.

    A batch then has the way of the episode as its number of classes, each with the same number of images, where a plain
    classifier's has images drawn one by one.
    """

    needs_classes = True

    def __init__(self, backbone: Backbone, classifier: nn.Module) -> None:
        """`classifier` gives logits for each training class."""
        super().__init__(backbone)
        self.classifier = classifier

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        if batch.classes is None:
            raise UsageError("a method that is trained to tell all classes apart needs to know the class of each image")
        together = batch.together
        labels = batch.classes[..., None].expand(together.shape[:3]).flatten()
        embedded = self.embed(together.flatten(0, 2))
        with self.comparing(embedded):
            logits = self.classifier(embedded)
            return LossAndAccuracy(cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean())
