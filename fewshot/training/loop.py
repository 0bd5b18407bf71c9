"""Meta-training: Adam over episodes, validated on fixed ones, resumable to the bit."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices, EpisodeSampler
from fewshot.errors import Interrupted, TrainingError
from fewshot.evaluation.banks import Banks, image_shape_of
from fewshot.evaluation.predictions import predict_episodes
from fewshot.evaluation.stats import score
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.model import TrainingData, save_model
from fewshot.randomness import torch_seed
from fewshot.settings.plugins import plugin_sources
from fewshot.settings.schema import Settings
from fewshot.system.device import Compute
from fewshot.system.files import write_json
from fewshot.system.progress import Reporter, report_progress
from fewshot.system.signals import stop_requests
from fewshot.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from fewshot.training.identity import training_identity
from fewshot.training.outer_step import OuterStep, StepMetrics
from fewshot.training.result import TrainResult, read_result, write_result
from fewshot.training.schedule import learning_rate_at

OnMetrics = Callable[[int, dict[str, float]], None]

LOG_EVERY = 25
"""Steps between points of the training curve. Between them an accelerator is never waited for."""

STATISTICS_IMAGES = 1000
"""Training images that a method sees before each validation; see `Method.update_statistics`."""


def train(
    settings: Settings, dataset: Dataset, folder: str | Path | None = None, on_metrics: OnMetrics | None = None
) -> TrainResult:
    """Meta-train in `folder`: begin, go on from its newest checkpoint, or return its finished result at once.

    Without a folder, the training is kept in `.fewshot/training` of the working folder, under its identity.
    `on_metrics(step, metrics)` hears each point of the training curve. Raises TrainingError when the loss is no longer
    finite, Interrupted after SIGTERM or SIGINT (with a checkpoint of that moment on disk), UsageError when the folder
    belongs to a training of other settings, data or code.
    """
    identity = training_identity(settings, dataset)
    folder = Path(folder or Path(".fewshot", "training", identity.name))
    if (finished := read_result(folder, identity)) is not None:
        return finished
    # A folder that can't be written is found now, not at the first checkpoint.
    write_json(folder / "run.json", identity.ingredients)
    compute = Compute.pick(settings.device, settings.train.precision, settings.threads)
    compute.prepare()
    trainer = _Trainer(settings, dataset, folder, compute, identity.digest, on_metrics)
    with stop_requests() as stop, report_progress("meta-training", settings.train.steps) as reporter:
        trainer.run(stop, reporter)
    return trainer.finish()


class _Trainer:
    """One training run: what stays the same over its steps."""

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        folder: Path,
        compute: Compute,
        identity: str,
        on_metrics: OnMetrics | None,
    ) -> None:
        self.settings, self.options, self.dataset, self.folder = settings, settings.train, dataset, folder
        self.on_metrics = on_metrics
        self.compute, device = compute, compute.device
        self.source = EpisodeSampler(dataset.class_table("train"), self.options.episode, settings.seed, "train")
        shape = dataset.shape_for("val", self.options.validation)
        self.validation = dataset.fixed_episodes("val", shape, self.options.validation_episodes)
        classes = len(dataset.class_table("train"))
        channel, height, width = dataset.pack.images.shape[1:]
        self.method = build_method(settings, (channel, height, width), classes).to(device)
        self.banks = Banks(self.method, dataset, compute)
        self.step = OuterStep(self.method, self.options, compute)
        resumed = load_checkpoint(folder, identity, self.method, self.step.optimizer)
        self.state, self.best = resumed if resumed else (TrainingState(identity), _copy(self.method))

    def run(self, stop: Event, reporter: Reporter) -> None:
        """Step until the last step, the end of patience, or a request to stop."""
        state, options, bank = self.state, self.options, self.banks.of("train")
        began, first, seconds_before = time.monotonic(), state.step, state.seconds
        while state.step < options.steps and not self._out_of_patience():
            rate = learning_rate_at(state.step, options)
            # Whatever a network drops is a function of the step, like its episode: a resumed run drops the same.
            torch.manual_seed(torch_seed(self.settings.seed, f"step {state.step}"))
            done = self.step(bank.batch(self._draw(state.step)), rate, state.step / options.steps)
            state.step += 1
            step = state.step
            validates = step % options.validate_every == 0 or step == options.steps
            logs = validates or step % LOG_EVERY == 0
            saves = validates or step % options.checkpoint_every == 0 or stop.is_set()
            if logs or saves or self.compute.device.type == "cpu":
                self._check_finite(done, rate)
            elapsed = time.monotonic() - began
            state.seconds = seconds_before + elapsed
            if logs:
                speed = (step - first) * options.tasks / elapsed
                self._log(done, rate, speed, self._validate() if validates else {}, reporter)
            if saves:
                save_checkpoint(self.folder, state, self.method, self.best, self.step.optimizer)
            if stop.is_set():
                raise Interrupted(f"stopped at step {step} of {options.steps}; run the same command again to go on")

    def finish(self) -> TrainResult:
        """Write the model of the best validation, the history, and last of all the result that says it is done."""
        state = self.state
        names = self.dataset.class_names("train")
        data = TrainingData(self.dataset.name, self.dataset.scheme.name, self.dataset.digest, names)
        sources = plugin_sources(self.settings)
        shape = image_shape_of(self.method, self.dataset)
        digest = save_model(self.folder / "model", self.best, self.settings, shape, data, sources)
        write_json(self.folder / "history.json", {"points": state.points})
        result = TrainResult(
            model=self.folder / "model",
            weights_sha256=digest,
            history=self.folder / "history.json",
            steps=state.step,
            best_step=state.best_step,
            best_val_accuracy=state.best_accuracy,
            best_val_ci95=state.best_ci95,
            seconds=state.seconds,
            device=str(self.compute.device),
            precision=str(self.compute.precision).removeprefix("torch."),
        )
        write_result(self.folder, result, state.run)
        return result

    def _draw(self, step: int) -> EpisodeIndices:
        return self.source.sample(step * self.options.tasks, self.options.tasks)

    def _validate(self) -> dict[str, float]:
        self._update_statistics()
        mode = self.method.batch_norm_modes[0]
        now = score(predict_episodes(self.method, self.banks.of("val"), self.validation, mode, self.compute).accuracy)
        state = self.state
        if now.accuracy > state.best_accuracy:
            state.best_step, state.best_accuracy, state.best_ci95 = (
                state.step,
                now.accuracy,
                now.ci95,
            )
            state.validations_without_better = 0
            self.best = _copy(self.method)
        else:
            state.validations_without_better += 1
        return {"val_accuracy": now.accuracy, "val_ci95": now.ci95}

    def _update_statistics(self) -> None:
        """Show the method training images, the same ones each time."""
        batch = self.banks.of("train").batch(
            self.source.sample(0, math.ceil(STATISTICS_IMAGES / self.options.episode.images))
        )
        self.method.eval()
        with torch.no_grad(), self.compute.autocast():
            self.method.update_statistics(batch.together.flatten(0, 2)[:STATISTICS_IMAGES])

    def _log(
        self, done: StepMetrics, rate: float, tasks_per_s: float, validated: dict[str, float], reporter: Reporter
    ) -> None:
        state = self.state
        numbers = {"loss": float(done.loss), "accuracy": float(done.accuracy), "learning_rate": rate}
        numbers |= {"tasks_per_s": tasks_per_s, **validated}
        state.points.append({"step": state.step, **numbers})
        best = f"val {100 * state.best_accuracy:.1f} ± {100 * state.best_ci95:.1f} %, "
        reporter(state.step, f"loss {done.loss:.3f}, {best if state.best_step else ''}{tasks_per_s:.1f} tasks/s")
        if self.on_metrics:
            self.on_metrics(state.step, numbers)

    def _out_of_patience(self) -> bool:
        return 0 < self.options.patience <= self.state.validations_without_better

    def _check_finite(self, done: StepMetrics, rate: float) -> None:
        """A loss or gradient that is not finite ends the run before a checkpoint can hold what it does."""
        if math.isfinite(float(done.loss)) and math.isfinite(float(done.gradient_norm)):
            return
        rate_of_method = getattr(self.settings.method, "inner_learning_rate", None)
        inner = f", inner learning rate {rate_of_method:g}" if rate_of_method else ""
        raise TrainingError(
            f"the loss is {float(done.loss):g} and its gradient's norm {float(done.gradient_norm):g} at step "
            f"{self.state.step} (learning rate {rate:.2g}{inner}); lower train.learning_rate or "
            f"train.gradient_clip, or set train.precision=float32. The last good checkpoint is kept in {self.folder}"
        )


def _copy(method: Method) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}
