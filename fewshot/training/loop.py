"""Meta-training: gradient steps on episodes, validated on fixed ones, resumable to the bit."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from fewshot.backbones.encoder_record import encoder_record, without_encoder
from fewshot.data.dataset import Dataset
from fewshot.errors import DataError, Interrupted, TrainingError
from fewshot.evaluation.banks import Banks, image_shape_of
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
from fewshot.training.batches import TrainingBatches
from fewshot.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from fewshot.training.choices import compared
from fewshot.training.identity import training_identity
from fewshot.training.outer_step import OuterStep, StepMetrics
from fewshot.training.result import TrainResult, read_result, write_result
from fewshot.training.schedule import learning_rate_at
from fewshot.training.validation import Validation

OnMetrics = Callable[[int, dict[str, float]], None]

LOG_EVERY = 25
"""Steps between points of the training curve. Between them an accelerator is never waited for."""


def train(
    settings: Settings, dataset: Dataset, folder: str | Path | None = None, on_metrics: OnMetrics | None = None
) -> TrainResult:
    """Meta-train in `folder`: begin, go on from its newest checkpoint, or return its finished result at once.

    A training of no steps leaves the method as it was built; it is validated once, if there are validation classes.
    Without a folder, the training is kept in `.fewshot/training` of the working folder, under its identity.
    `on_metrics(step, metrics)` hears each point of the training curve. Raises TrainingError when the loss is no longer
    finite, Interrupted after SIGTERM or SIGINT (with a checkpoint of that moment on disk), UsageError when the folder
    belongs to a training of other settings, data or code, DataError when there are steps but no training classes.
    """
    _check_classes(settings, dataset)
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
        if settings.train.steps:
            trainer.run(stop, reporter)
        else:
            trainer.run_without_steps(reporter)
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
        self.on_metrics, self.compute = on_metrics, compute
        self.classes = dataset.scheme.splits.get("train", ())
        channel, height, width = dataset.pack.images.shape[1:]
        self.method = build_method(settings, (channel, height, width), len(self.classes)).to(compute.device)
        self.banks = Banks(self.method, dataset, compute)
        self.validation = Validation(settings, dataset, self.banks, compute)
        self.state, self.best = TrainingState(identity), _copy(self.method)

    def run(self, stop: Event, reporter: Reporter) -> None:
        """Step until the last step, the end of patience, or a request to stop."""
        options, batches = self.options, TrainingBatches(self.settings, self.dataset, self.banks.of("train"))
        update = OuterStep(self.method, options, self.compute)
        if resumed := load_checkpoint(self.folder, self.state.run, self.method, update.optimizer):
            self.state, self.best = resumed
        state = self.state
        began, first, seconds_before = time.monotonic(), state.step, state.seconds
        while state.step < options.steps and not self._out_of_patience():
            rate = learning_rate_at(state.step, options)
            # Whatever a network drops is a function of the step, like its episode: a resumed run drops the same.
            torch.manual_seed(torch_seed(self.settings.seed, f"step {state.step}"))
            done = update(batches(state.step), rate, state.step / options.steps)
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
                save_checkpoint(self.folder, state, self.method, self.best, update.optimizer)
            if stop.is_set():
                raise Interrupted(f"stopped at step {step} of {options.steps}; run the same command again to go on")

    def run_without_steps(self, reporter: Reporter) -> None:
        """Keep the method as it was built, with statistics of training images; validate it if that is possible."""
        began = time.monotonic()
        validated = self._validate()
        self.best = _copy(self.method)
        self.state.seconds = time.monotonic() - began
        if validated:
            self._add_point(validated)
        reporter(0, f"no step, {self._best_in_words() or 'not validated'}")

    def finish(self) -> TrainResult:
        """Write the model of the best validation, the history, and last of all the result that says it is done."""
        state = self.state
        data = TrainingData(self.dataset.name, self.dataset.scheme.name, self.dataset.digest, self.classes)
        sources = plugin_sources(self.settings)
        shape = image_shape_of(self.method, self.dataset)
        weights = without_encoder(self.best, self.method)
        encoder = encoder_record(self.method)
        digest = save_model(self.folder / "model", weights, self.settings, shape, data, sources, encoder)
        write_json(self.folder / "history.json", {"points": state.points, "choices": compared(self.method.choices)})
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

    def _validate(self) -> dict[str, float]:
        """The numbers of a validation; none where there are no validation classes."""
        state, now = self.state, self.validation(self.method)
        if now is None:
            return {}
        if state.best_accuracy is None or now.accuracy > state.best_accuracy:
            state.best_step, state.best_accuracy, state.best_ci95 = state.step, now.accuracy, now.ci95
            state.validations_without_better = 0
            self.best = _copy(self.method)
        else:
            state.validations_without_better += 1
        return {"val_accuracy": now.accuracy, "val_ci95": now.ci95}

    def _log(
        self, done: StepMetrics, rate: float, tasks_per_s: float, validated: dict[str, float], reporter: Reporter
    ) -> None:
        numbers = {"loss": float(done.loss), "accuracy": float(done.accuracy), "learning_rate": rate}
        best = f"{words}, " if (words := self._best_in_words()) else ""
        reporter(self.state.step, f"loss {done.loss:.3f}, {best}{tasks_per_s:.1f} tasks/s")
        self._add_point(numbers | {"tasks_per_s": tasks_per_s, **validated})

    def _add_point(self, numbers: dict[str, float]) -> None:
        """Add a point to the training curve, and let the listener hear it."""
        self.state.points.append({"step": self.state.step, **numbers})
        if self.on_metrics:
            self.on_metrics(self.state.step, numbers)

    def _best_in_words(self) -> str:
        """The best validation; empty before the first."""
        accuracy, ci95 = self.state.best_accuracy, self.state.best_ci95
        return "" if accuracy is None or ci95 is None else f"val {100 * accuracy:.1f} ± {100 * ci95:.1f} %"

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


def _check_classes(settings: Settings, dataset: Dataset) -> None:
    if settings.train.steps and not dataset.scheme.splits.get("train"):
        raise DataError(
            f"split scheme {dataset.scheme.name} of {dataset.name} has no train classes, and "
            f"train.steps={settings.train.steps} needs some; set train.steps=0 to use a pretrained encoder as it is, "
            "for example method.name=protonet on a backbone with backbone.frozen=true"
        )


def _copy(method: Method) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}
