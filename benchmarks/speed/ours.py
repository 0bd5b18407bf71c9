"""This project in the race: the code that `fewshot` itself runs, given the race's weights and images."""

import copy

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.speed.cases import IMAGE_SHAPE, OURS_FLOAT32, Case
from benchmarks.speed.inputs import draw, make_images, make_tasks, make_weights
from fewshot.classifier import FewShotClassifier
from fewshot.data.batches import EpisodeBatch, ImageBank
from fewshot.evaluation.predictions import predict_episodes
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.model import Model, ModelDescription, TrainingData
from fewshot.settings.schema import Settings, settings_from
from fewshot.system.device import Compute
from fewshot.training.outer_step import OuterStep

CPU = torch.device("cpu")


class OursStep:
    """A training step of MAML or ProtoNet."""

    def __init__(self, case: Case, contestant: str) -> None:
        settings = settings_of(case, contestant)
        self.method, self.rate = method_of(case, settings), settings.train.learning_rate
        self.compute = Compute.pick("cpu", settings.train.precision)
        self.outer = OuterStep(self.method, settings.train, self.compute)
        tasks = make_tasks(case)
        self.batch = EpisodeBatch(tasks.support, tasks.query)
        self.fresh = copy.deepcopy(self.method.state_dict())

    def step(self) -> None:
        self.outer(self.batch, self.rate)

    def check(self) -> dict[str, float]:
        """MAML: loss and norm of the meta-gradient. ProtoNet: the loss in evaluation mode; `report.CHECKS` says why."""
        self.method.load_state_dict(self.fresh)
        if self.method.batch_norm_modes[0] == "transductive":
            done = self.outer(self.batch, self.rate)
            return {"loss": float(done.loss), "gradient norm": float(done.gradient_norm)}
        self.method.eval()
        with torch.no_grad(), self.compute.autocast():
            logits = self.method.logits(self.batch, "inductive")
        return {"loss": float(cross_entropy(logits.float().flatten(0, 1), self.batch.labels.flatten()))}


class OursEvaluation:
    """`fewshot.evaluation.predictions.predict_episodes`, which is what `fewshot evaluate` calls."""

    def __init__(self, case: Case, contestant: str) -> None:
        settings = settings_of(case, contestant)
        self.method, self.compute = method_of(case, settings), Compute.pick("cpu", settings.train.precision)
        self.bank = ImageBank(make_images(), CPU)
        self.episodes = draw(case.shape, case.tasks)

    def step(self) -> None:
        mode = self.method.batch_norm_modes[0]
        answers = predict_episodes(self.method, self.bank, self.episodes, mode, self.compute)
        self.accuracy = float(answers.accuracy.mean())

    def check(self) -> dict[str, float]:
        self.step()
        return {"accuracy": self.accuracy}


class OursLatency:
    """`FewShotClassifier.fit`, then `predict` for one image."""

    def __init__(self, case: Case, contestant: str) -> None:
        settings = settings_of(case, contestant)
        compute = Compute.pick("cpu", settings.train.precision)
        description = ModelDescription("", IMAGE_SHAPE, settings.plain(), TrainingData("", "", "", ()), {})
        self.classifier = FewShotClassifier(Model(method_of(case, settings).eval(), description, compute))
        images = make_images()[draw(case.shape, 1).rows[0]]  # way shot+1 channel height width
        self.support = [np.ascontiguousarray(of_class[: case.shape.shot]) for of_class in images]
        self.query = np.ascontiguousarray(images[0, case.shape.shot :])
        self.names = [f"class {place}" for place in range(case.shape.way)]

    def step(self) -> None:
        self.classifier.fit(self.support, self.names)
        self.classifier.predict(self.query)

    def check(self) -> dict[str, float]:
        self.classifier.fit(self.support, self.names)
        probabilities = self.classifier.predict_proba(self.query)[0]
        return {f"probability {place}": float(value) for place, value in enumerate(probabilities)}


def settings_of(case: Case, contestant: str) -> Settings:
    """The settings that a user would write for the case."""
    method: dict[str, object] = {"name": "protonet"}
    if case.kind.startswith("maml"):
        method = {
            "name": "maml",
            "inner_steps": case.inner_steps,
            "inner_steps_test": case.inner_steps,
            "inner_learning_rate": case.inner_learning_rate,
            "batch_norm": "transductive",  # as in the peers' examples; it costs us the same either way
        }
    train = {
        "episode": str(case.shape),
        "tasks": case.tasks,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "precision": "float32" if contestant == OURS_FLOAT32 else "auto",
    }
    return settings_from({"method": method, "backbone": {"form": case.form}, "train": train, "device": "cpu"})


def method_of(case: Case, settings: Settings) -> Method:
    """The method as `fewshot` builds it, with the weights of the race."""
    method = build_method(settings, IMAGE_SHAPE)
    state, weights = method.state_dict(), make_weights(case)
    names = {"convolution": "convolutions.{}.weight", "scale": "norms.{}.weight", "shift": "norms.{}.bias",
             "mean": "norms.{}.running_mean", "variance": "norms.{}.running_var"}  # fmt: skip
    for name, weight in weights.items():
        kind, _, block = name.partition(".")
        if block:
            suffix = names[kind].format(block)
            [place] = [place for place in state if place.endswith(suffix)]
            state[place].copy_(weight)
    # What is left besides counters is MAML's linear layer.
    of_layer = [place for place in state if "convolutions" not in place and "norms" not in place]
    for place in of_layer:
        state[place].copy_(weights["linear" if place.endswith("weight") else "bias"])
    method.load_state_dict(state)
    return method
