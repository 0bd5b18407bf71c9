"""MAML++ (Antoniou, Edwards & Storkey 2019, "How to train your MAML"): six repairs of MAML.

Of section 4: a loss after every step, a first-order beginning, statistics, scales and shifts of batch normalisation for
each step, learned rates for each layer and step, and (in `train.schedule`) a cosine schedule of the outer rate.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import BatchNorm, LossAndAccuracy, loss_and_accuracy
from fewshot.methods.descent import Update
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.methods.stacked_network import Images, Weights, flat, in_parts

MOMENTUM = 0.1
"""Weight of a batch's statistics in the running ones."""


class MAMLPlusPlusSettings(InnerLoopSettings):
    """MAML++ (Antoniou et al. 2019); inner_learning_rate is where the learned rates start."""

    inner_steps: int = Field(5, ge=1, description="inner-loop steps, in meta-training and at test time")
    inner_steps_test: int = Field(5, ge=1, description="the same number: each step has its own rates and statistics")
    inner_learning_rate: float = Field(0.1, gt=0)
    order: Literal["second", "first", "annealed"] = "annealed"
    multi_step_share: float = Field(0.1, ge=0, le=1, description="share of training with a loss after every step")


class MAMLPlusPlus(InnerLoop):
    """MAML with entries for each inner step, and one for the queries after the last, of everything that has a step.

    The running statistics of each step are really read: those of the last entry normalise queries that are answered
    one by one (inductive). The authors' code keeps them, but always normalises by the batch.
    """

    Settings: ClassVar = MAMLPlusPlusSettings

    def __init__(self, backbone: Backbone, way: int, settings: MAMLPlusPlusSettings) -> None:
        super().__init__(backbone, way, settings)
        self.parts_are_independent = False  # in training, each pass updates the running statistics
        steps = settings.inner_steps
        if settings.inner_steps_test != steps:
            raise UsageError(
                f"method.inner_steps={steps} but method.inner_steps_test={settings.inner_steps_test}: MAML++ learns "
                "rates and statistics for each step, so that both must be equal"
            )
        self.multi_step_share = settings.multi_step_share
        norms = {f"backbone.{n}": layer for n, layer in backbone.named_modules() if isinstance(layer, nn.BatchNorm2d)}
        self.norm_names = list(norms)
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for place, norm in enumerate(norms.values()):
            norm.requires_grad_(False)  # the entries below stand in for its own scale and shift
            entries = (steps + 1, norm.num_features)
            self.scales.append(torch.ones(entries))
            self.shifts.append(torch.zeros(entries))
            self.register_buffer(f"mean_{place}", torch.zeros(entries))
            self.register_buffer(f"variance_{place}", torch.ones(entries))
        adapted = [name for name in self.network_parameters() if self.is_adapted(name)]
        self.rates = nn.ParameterList(torch.full((steps,), settings.inner_learning_rate) for _ in adapted)

    def inner_optimizer(self, tasks: int, rows: Int64[Tensor, "way"]) -> Update:
        """Gradient descent with the rate of each layer (here: of each tensor) and step."""

        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            rates = dict(zip(weights, self.rates, strict=True))
            return {name: weight - rates[name][step] * gradients[name] for name, weight in weights.items()}

        return update

    def importance(self, fraction_done: float) -> list[float]:
        """The weight of the loss after each step: all alike at first, then more and more the last alone (section 4)."""
        steps = self.settings.inner_steps
        left = max(0.0, 1 - fraction_done / self.multi_step_share) if self.multi_step_share else 0.0
        return [left / steps] * (steps - 1) + [1 - left * (steps - 1) / steps]

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        """The sum of the query losses after each step, each times its importance."""
        importance = self.importance(fraction_done)
        logits: dict[int, list[Tensor]] = {step: [] for step, share in enumerate(importance, start=1) if share > 0}
        for part in batch.split(self.tasks_at_once(batch.images_of_a_task)):
            path = list(self.adapt(*flat(part.support), self.settings.inner_steps, self.order(fraction_done)))
            for step, of_step in logits.items():
                of_step += [self.classify(*some, step) for some in in_parts(path[step], part.query.flatten(1, 2))]
        outcomes = {step: loss_and_accuracy(torch.cat(of_step), batch) for step, of_step in logits.items()}
        loss = torch.stack([importance[step - 1] * of_step.loss for step, of_step in outcomes.items()]).sum()
        return LossAndAccuracy(loss, outcomes[self.settings.inner_steps].accuracy)

    def features(
        self, weights: Weights, images: Images, step: int, batch_statistics: bool = True
    ) -> Float[Tensor, "task image feature"]:
        """With the scales, shifts and statistics of this step; in training, its running statistics are updated."""
        tasks = len(images)
        of_step: Weights = {}
        for place, name in enumerate(self.norm_names):
            entries = {"weight": self.scales[place], "bias": self.shifts[place], **self._running(place)}
            of_step |= {f"{name}.{what}": torch.cat([of_all[step]] * tasks) for what, of_all in entries.items()}
        weights = weights | self.network.fresh_buffers(tasks) | of_step
        features = super().features(weights, images, step, batch_statistics)
        if batch_statistics and self.training:
            for place, name in enumerate(self.norm_names):
                for what, running in self._running(place).items():
                    running[step].lerp_(weights[f"{name}.{what}"].unflatten(0, (tasks, -1)).mean(0), MOMENTUM)
        return features

    def _running(self, place: int) -> dict[str, Tensor]:
        return {"running_mean": self.get_buffer(f"mean_{place}"), "running_var": self.get_buffer(f"variance_{place}")}

    def adapted(
        self, support: Images, labels: Int64[Tensor, "image"], way: int, batch_norm: BatchNorm, first_row: int = 0
    ) -> Weights:
        """Adapted weights; statistics for inductive use are there already."""
        return super().adapted(support, labels, way, "transductive", first_row)
