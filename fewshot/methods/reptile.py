"""Reptile (Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms").

Moves the initial weights towards those that training on a task ends with; needs no query set and no second derivative.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import LossAndAccuracy, loss_and_accuracy
from fewshot.methods.inner_loop import descend, last
from fewshot.methods.maml import MAML
from fewshot.methods.stacked_tasks import Images, Weights, flat, in_parts
from fewshot.settings.methods import ReptileSettings


class Reptile(MAML):
    """The batched version (algorithm 2): the outer gradient is the initial minus the mean of the adapted weights.

    The paper names the use of that difference as a gradient for Adam (section 2), which is what the outer loop does.
    The inner optimizer is plain gradient descent on small batches, which carries nothing from task to task. The paper's
    experiments take Adam with beta_1 = 0, whose second moments the authors' code carries on; started anew for each
    task, it would move every weight by the same at first, whether the task cares for it or not, and learn far less.
    Batches go through the images in a fixed order that takes the classes in turn. Support and query images are all
    trained on.
    """

    settings: ReptileSettings

    def adapt(self, images: Images, labels: Int64[Tensor, "image"], steps: int, order: int) -> Iterator[Weights]:
        start = self.start(images, labels, int(labels[-1]) + 1)
        adapted = {name: weight for name, weight in start.items() if self.is_adapted(name)}
        turn = _in_turn(labels)
        size = min(self.settings.inner_batch, len(turn))

        def batch_loss(weights: Weights, step: int) -> Tensor:
            batch = turn[torch.arange(step * size, (step + 1) * size, device=turn.device) % len(turn)]
            return self.support_loss(self.classify(start | weights, images[:, batch], step), labels[batch])

        return (
            start | weights
            for weights in descend(batch_loss, adapted, self.inner_optimizer(len(images)), steps, order=0)
        )

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The loss and accuracy of the queries under the adapted weights; its gradient is Reptile's."""
        towards: Weights = {}
        logits = []
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            images, labels = flat(part.together)
            adapted = last(self.adapt(images, labels, self.settings.inner_steps, order=0))
            with torch.no_grad():
                queries = part.query.flatten(1, 2)
                logits += [self.classify(*some, self.settings.inner_steps) for some in in_parts(adapted, queries)]
                for name, weight in self.network_parameters().items():
                    total = adapted[name].detach().view(len(images), *weight.shape).sum(0)
                    towards[name] = towards.get(name, torch.zeros_like(weight)) + total
        differences = [
            weight.detach() - towards[name] / len(batch.query) for name, weight in self.network_parameters().items()
        ]
        # A number whose gradient is the difference and whose value is none.
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
