"""Meta-training: the same weights every time, through kills and restarts."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_data import TOY, toy_dataset, toy_settings

from fewshot.data.dataset import Dataset
from fewshot.errors import DamagedFileError, Interrupted, TrainingError, UsageError
from fewshot.model import load_model
from fewshot.settings.schema import settings_from
from fewshot.settings.training import TrainSettings
from fewshot.training.loop import train
from fewshot.training.result import TrainResult
from fewshot.training.schedule import learning_rate_at


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(toy_settings(), dataset, tmp_path_factory.mktemp("undisturbed"))


def test_same_seed_gives_the_same_weights(dataset: Dataset, undisturbed: TrainResult, tmp_path: Path) -> None:
    torch.manual_seed(123)  # the global generator has no say
    assert train(toy_settings(), dataset, tmp_path).weights_sha256 == undisturbed.weights_sha256


def test_another_seed_gives_other_weights(dataset: Dataset, undisturbed: TrainResult, tmp_path: Path) -> None:
    other = toy_settings().model_copy(update={"seed": 1})
    assert train(other, dataset, tmp_path).weights_sha256 != undisturbed.weights_sha256


@pytest.mark.parametrize("method", ["protonet", "maml"])
def test_training_learns(dataset: Dataset, tmp_path: Path, method: str) -> None:
    settings = toy_settings(method, steps=60, learning_rate=5e-3)
    result = train(settings, dataset, tmp_path)
    assert result.best_val_accuracy - result.best_val_ci95 > 1 / 3
    points = json.loads(result.history.read_text())["points"]
    assert points[-1]["loss"] < points[0]["loss"]


def test_finished_training_is_not_repeated(dataset: Dataset, undisturbed: TrainResult) -> None:
    began = time.thread_time()
    again = train(toy_settings(), dataset, undisturbed.model.parent)
    assert again == undisturbed
    assert time.thread_time() - began < 0.5


def test_damaged_weights_are_trained_again(dataset: Dataset, undisturbed: TrainResult, tmp_path: Path) -> None:
    first = train(toy_settings(), dataset, tmp_path)
    weights = first.model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DamagedFileError, match=r"weights\.safetensors is missing or damaged"):
        load_model(first.model, "cpu")
    assert train(toy_settings(), dataset, tmp_path).weights_sha256 == undisturbed.weights_sha256


def test_folder_of_another_training_is_refused(dataset: Dataset, undisturbed: TrainResult) -> None:
    with pytest.raises(
        UsageError, match=r"holds a training of setting train.steps: 40 there, 41 now; choose another folder"
    ):
        train(toy_settings(steps=41), dataset, undisturbed.model.parent)


def test_stop_writes_a_checkpoint_and_the_next_run_ends_alike(
    dataset: Dataset, undisturbed: TrainResult, tmp_path: Path
) -> None:
    def stop_at_25(step: int, _: dict[str, float]) -> None:
        if step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"stopped at step 2\d of 40; run the same command again"):
        train(toy_settings(), dataset, tmp_path, stop_at_25)
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (tmp_path / "result.json").exists()
    assert train(toy_settings(), dataset, tmp_path).weights_sha256 == undisturbed.weights_sha256


def test_an_unfinished_training_of_other_settings_is_not_mixed_with(dataset: Dataset, tmp_path: Path) -> None:
    def stop_at_25(step: int, _: dict[str, float]) -> None:
        if step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(toy_settings(), dataset, tmp_path, stop_at_25)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"holds a training of setting train.steps: 40 there, 41 now; choose another"):
        train(toy_settings(steps=41), dataset, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damaged", ["result.json", "model/weights.safetensors", "model/model.json", "history.json"])
def test_a_damaged_training_of_other_settings_is_not_mixed_with(
    dataset: Dataset, undisturbed: TrainResult, tmp_path: Path, damaged: str
) -> None:
    shutil.copytree(undisturbed.model.parent, tmp_path / "t")
    (tmp_path / "t" / damaged).write_bytes((tmp_path / "t" / damaged).read_bytes()[:-9])
    for checkpoint in (tmp_path / "t").glob("checkpoint-*"):
        checkpoint.unlink()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}
    with pytest.raises(UsageError, match=r"holds a training of setting train.steps: 40 there, 41 now; choose another"):
        train(toy_settings(steps=41), dataset, tmp_path / "t")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()} == before
    assert train(toy_settings(), dataset, tmp_path / "t").weights_sha256 == undisturbed.weights_sha256


def test_damaged_checkpoint_is_named_and_the_one_before_taken(
    dataset: Dataset, undisturbed: TrainResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_at_30(step: int, _: dict[str, float]) -> None:
        if step == 30:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(toy_settings(), dataset, tmp_path, stop_at_30)
    newest = max(tmp_path.glob("checkpoint-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        result = train(toy_settings(), dataset, tmp_path)
    assert f"{newest.name} is damaged and was deleted" in caplog.text
    assert "going on from the checkpoint before, of step 25" in caplog.text
    assert result.weights_sha256 == undisturbed.weights_sha256


def test_damaged_checkpoints_do_not_drive_out_those_of_a_training_that_begins_anew(
    dataset: Dataset, undisturbed: TrainResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_at(last: int) -> Callable[[int, dict[str, float]], None]:
        return lambda step, _: os.kill(os.getpid(), signal.SIGINT) if step == last else None

    with pytest.raises(Interrupted):
        train(toy_settings(), dataset, tmp_path, stop_at(30))
    for file in tmp_path.glob("checkpoint-*.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING), pytest.raises(Interrupted):
        train(toy_settings(), dataset, tmp_path, stop_at(15))
    assert f"no whole checkpoint is left in {tmp_path}; the training begins anew" in caplog.text
    steps = sorted(int(file.name.split("-")[1]) for file in tmp_path.glob("checkpoint-*.safetensors"))
    assert len(steps) == 2
    assert 15 <= steps[-1] < 25
    assert train(toy_settings(), dataset, tmp_path).weights_sha256 == undisturbed.weights_sha256


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[1:3]\n"
        "from toy_data import toy_dataset, toy_settings\nfrom fewshot.training.loop import train\n"
        "folder = Path(sys.argv[3]); dataset = toy_dataset(folder / 'data')\n"
        "print(train(toy_settings(steps=400), dataset, folder / sys.argv[4]).weights_sha256)"
    )
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", script, str(tests), str(tests.parent), str(tmp_path)]
    expected = subprocess.run([*command, "whole"], check=True, capture_output=True, text=True).stdout
    chance = random.Random(0)
    kills, steps = 0, []
    while True:
        process = subprocess.Popen([*command, "killed"], stdout=subprocess.PIPE, text=True)
        waited_for = (steps[-1] if steps else 0) + chance.randrange(5, 90, 5)
        while process.poll() is None and _newest_step(tmp_path / "killed") < waited_for:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.03)
        process.kill()
        output, _ = process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        steps.append(_newest_step(tmp_path / "killed"))
    assert kills >= 3
    assert output == expected, f"killed after checkpoints {steps}"


def _newest_step(folder: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")), default=0)


def test_a_loss_that_is_not_finite_stops_with_a_clear_error(dataset: Dataset, tmp_path: Path) -> None:
    settings = toy_settings(learning_rate=1e30, gradient_clip=1e30)
    message = r"at step \d+ \(learning rate 1e\+30\); lower train.learning_rate"
    with pytest.raises(TrainingError, match=message):
        train(settings, dataset, tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_patience_ends_training_early(dataset: Dataset, tmp_path: Path) -> None:
    settings = toy_settings(steps=400, validate_every=1, patience=3, learning_rate=1e-9, schedule="constant")
    result = train(settings, dataset, tmp_path)
    assert result.steps < 400
    assert result.best_step == result.steps - 3


def test_metrics_are_heard_as_they_come(dataset: Dataset, tmp_path: Path) -> None:
    heard: list[tuple[int, dict[str, float]]] = []
    train(toy_settings(), dataset, tmp_path, lambda step, metrics: heard.append((step, metrics)))
    assert [step for step, _ in heard] == [15, 25, 30, 40]
    assert {"loss", "accuracy", "learning_rate", "tasks_per_s"} <= heard[1][1].keys()
    assert "val_accuracy" in heard[0][1]
    assert "val_accuracy" not in heard[1][1]


def test_schedules_by_hand() -> None:
    base = {"learning_rate": 1.0, "steps": 100, "halve_every": 30}
    cosine, halving, constant = (
        TrainSettings.model_validate(base | {"schedule": name}) for name in ("cosine", "halving", "constant")
    )
    assert learning_rate_at(0, cosine) == 1.0
    assert learning_rate_at(50, cosine) == pytest.approx(0.5)
    assert [learning_rate_at(step, halving) for step in (29, 30, 60)] == [1.0, 0.5, 0.25]
    assert learning_rate_at(99, constant) == 1.0


def test_a_full_disk_in_mid_checkpoint_keeps_the_last_good_one(dataset: Dataset, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        wide = settings_from(TOY | {"backbone": {"form": "strided", "channels": 8}})
        with pytest.raises(OSError, match="No space left on device"):
            train(wide, dataset, small)
        assert not list(small.glob("*.part"))
        assert not (small / "result.json").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)
