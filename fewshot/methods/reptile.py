"""Reptile (Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms").

Moves the initial weights towards those that training on a task ends with; needs no query set and no second derivative.
"""

from typing import ClassVar

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import LossAndAccuracy, loss_and_accuracy
from fewshot.methods.descent import InnerLoss, last
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.maml import MAML
from fewshot.methods.stacked_network import Images, Weights, flat, in_parts


class ReptileSettings(InnerLoopSettings):
    """Reptile (Nichol et al. 2018)."""

    inner_steps: int = Field(5, ge=1, description="inner-loop steps in meta-training")
    inner_steps_test: int = Field(50, ge=0, description="inner-loop steps at test time")
    inner_learning_rate: float = Field(0.3, gt=0)
    inner_batch: int = Field(10, ge=1, description="images of an inner step")


class Reptile(MAML):
    """The batched version (algorithm 2): the outer gradient is the initial minus the mean of the adapted weights.

    The paper names the use of that difference as a gradient for Adam (section 2), which is what the outer loop does.
    The inner optimizer is plain gradient descent on small batches, which carries nothing from task to task. The paper's
    experiments take Adam with beta_1 = 0, whose second moments the authors' code carries on; restarted for each task,
    it would at first move every weight by the same amount, whether the task needs it or not, and learn far less.
    Batches go through the images in a fixed order that takes the classes in turn. Support and query images are all
    trained on.
    """

    is_static = False
    Settings: ClassVar = ReptileSettings
    settings: ReptileSettings

    def inner_loss(self, start: Weights, images: Images, labels: Int64[Tensor, "image"]) -> InnerLoss:
        """The loss of a step's batch."""
        turn = _in_turn(labels)
        size = min(self.settings.inner_batch, len(turn))

        def batch_loss(weights: Weights, step: int) -> Tensor:
            batch = turn[torch.arange(step * size, (step + 1) * size, device=turn.device) % len(turn)]
            return self.support_loss(self.classify(start | weights, images[:, batch], step), labels[batch])

        return batch_loss

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The loss and accuracy of the queries under the adapted weights; its gradient is Reptile's."""
        towards: Weights = {}
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            images, labels, way = flat(part.together)
            adapted = last(self.adapt(images, labels, way, self.settings.inner_steps, order="none"))
            with torch.no_grad():
                queries = part.query.flatten(1, 2)
                logits += [self.classify(*some, self.settings.inner_steps) for some in in_parts(adapted, queries)]
                for name, weight in self.network_parameters().items():
                    total = adapted[name].detach().view(len(images), *weight.shape).sum(0)
                    towards[name] = towards.get(name, torch.zeros_like(weight)) + total
        differences = [
            weight.detach() - towards[name] / len(batch.query) for name, weight in self.network_parameters().items()
        ]
        # A number whose gradient is the difference and whose value is zero.
        products = [
            ((weight - weight.detach()) * difference).sum()
            for weight, difference in zip(self.network_parameters().values(), differences, strict=True)
        ]
        reported = loss_and_accuracy(torch.cat(logits), batch)
        return LossAndAccuracy(reported.loss + torch.stack(products).sum(), reported.accuracy)


def _in_turn(labels: Int64[Tensor, "image"]) -> Int64[Tensor, "image"]:
    """The places of the images such that classes come in turn: the first image of each, then the second of each."""
    place_in_class = torch.cat([torch.arange(int(count)) for count in torch.bincount(labels)]).to(labels.device)
    return torch.argsort(place_in_class * (int(labels[-1]) + 1) + labels)
