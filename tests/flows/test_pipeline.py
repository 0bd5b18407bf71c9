"""The real flow on a copy of the project, with tiny settings."""

import os
import shutil
import signal
import time
from typing import Any

import pytest
import yaml
from conftest import TINY, run_tiny

from fewshot.errors import UsageError
from fewshot.home import Home, environment
from fewshot.mlflow_store import connect

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def run(*overrides: str) -> dict[str, Any]:
    from flows.pipeline import pipeline

    return pipeline("glyphs-protonet-5w1s", [*TINY, *overrides])


def ran(summary: dict[str, Any]) -> list[str]:
    """The steps that were not cached."""
    return [step["label"] for step in summary["steps"] if not step["cached"]]


def runs(home: Home) -> list[Any]:
    client = connect(home)
    return list(client.search_runs([found.experiment_id for found in client.search_experiments()]))


def versions(home: Home) -> list[Any]:
    return list(connect(home).search_model_versions("name = 'glyphs-protonet'"))


def test_each_step_runs_when_and_only_when_something_it_uses_changed(home: Home) -> None:
    first = run()
    assert ran(first) == ["prepare glyphs", "meta-train", "evaluate", "register"]
    assert (first["version"], first["aliases"]) == ("1", ["champion"])
    assert set(first["results"]) == {"glyphs/5w1s", "glyphs/5w5s"}

    second = run()
    assert ran(second) == []
    assert second["results"] == first["results"]
    assert len(versions(home)) == len(runs(home)) == 1

    third = run("evaluate.episodes=5")
    assert ran(third) == ["evaluate", "register"]
    assert (third["version"], third["aliases"]) == ("2", ["challenger"])
    assert third["run_id"] != first["run_id"], "the first run keeps its own evaluation"

    assert ran(run("register.model=mine")) == ["register"]
    assert ran(run()) == [], "the first settings again: their results are still stored"


def test_a_run_is_complete_whether_or_not_its_training_was_cached(home: Home) -> None:
    summaries = [run(), run("evaluate.episodes=5")]
    client = connect(home)
    for summary, episodes in zip(summaries, ("4", "5"), strict=True):
        found = client.get_run(summary["run_id"])
        assert found.info.status == "FINISHED"
        assert found.info.run_name == "glyphs-protonet-5w1s"
        assert found.data.params["evaluate.episodes"] == episodes
        assert found.data.metrics["test/glyphs/5w1s/accuracy"] == summary["results"]["glyphs/5w1s"]["accuracy"]
        assert found.data.metrics["test/glyphs/5w1s/interval"] == summary["results"]["glyphs/5w1s"]["interval"]
        curve = client.get_metric_history(summary["run_id"], "train/loss")
        assert [point.step for point in curve] == [2, 4]
        assert "validation/accuracy" in found.data.metrics
        assert {"fewshot.data_digest", "fewshot.code_key", "fewshot.lock_key", "fewshot.git_commit"} <= set(
            found.data.tags
        )
        inputs = {(entry.dataset.name, entry.tags[0].value) for entry in found.inputs.dataset_inputs}
        assert inputs == {("glyphs/scripts", "training"), ("glyphs/scripts test episodes", "evaluation")}
        files = {file.path for file in client.list_artifacts(summary["run_id"])}
        assert {"training_curve.png", "history.json", "evaluation", "confusion"} <= files
    assert len(runs(home)) == 2


def test_a_version_can_be_traced_to_its_origin(home: Home) -> None:
    summary = run()
    version = connect(home).get_model_version_by_alias("glyphs-protonet", "champion")
    assert version.run_id == summary["run_id"]
    for digest in ("weights_sha256", "data_digest", "code_key"):
        assert len(version.tags[f"fewshot.{digest}"]) == 64
    assert "±" in version.tags["test/glyphs/5w1s"]


def test_a_deleted_mlflow_database_is_filled_again_without_training(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    weights = next(home.state.glob("training/*/model/weights.safetensors"))
    written = weights.stat().st_mtime_ns
    # From another folder on, as this process keeps the deleted file open.
    moved = Home(home.project, home.state.rename(home.state.with_name("moved")))
    shutil.rmtree(moved.mlflow)
    out, err = run_tiny(moved, **environment(moved, {"PATH": os.environ["PATH"]})).communicate(timeout=300)
    assert [line.split()[-3] for line in out.splitlines()[1:5]] == ["cached", "ran", "ran", "ran"], out + err
    weights = next(moved.state.glob("training/*/model/weights.safetensors"))
    assert weights.stat().st_mtime_ns == written, "nothing was trained"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved.mlflow / 'mlflow.db'}")
    (healed,) = runs(moved)
    assert healed.info.run_id != first["run_id"]
    assert healed.data.metrics["test/glyphs/5w1s/accuracy"] == first["results"]["glyphs/5w1s"]["accuracy"]
    curve = connect(moved).get_metric_history(healed.info.run_id, "train/loss")
    assert [point.step for point in curve] == [2, 4]
    assert len(versions(moved)) == 1


def test_deleted_weights_are_trained_again_to_the_same_numbers(home: Home) -> None:
    first = run()
    shutil.rmtree(home.state / "training")
    again = run()
    assert "meta-train" in ran(again)
    assert again["results"] == first["results"]
    assert len(versions(home)) == 1, "the same weights and results make no second version"


def test_new_data_runs_everything_again(own_home: Home) -> None:
    first = run()
    params = own_home.project / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 1"))
    from flows.why import why

    assert "params.yaml" in why(own_home, "glyphs-protonet-5w1s", TINY)[0].reasons[0]
    again = run()
    assert ran(again) == ["prepare glyphs", "meta-train", "evaluate", "register"]
    assert again["results"] != first["results"]
    assert ran(run()) == []


def test_other_bytes_from_the_same_inputs_are_said_and_taken(
    own_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = own_home.project / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())
    stages["stages"]["split@glyphs"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    lock.write_text(yaml.safe_dump(stages))
    assert ran(run()) == ["prepare glyphs", "meta-train", "evaluate", "register"]
    assert "same inputs, but other bytes than dvc.lock had (split)" in capsys.readouterr().err
    assert ran(run()) == []


def test_why_names_what_changed(home: Home) -> None:
    from flows.why import why

    preset = "glyphs-protonet-5w1s"
    assert why(home, preset, TINY)[1].reasons == ("it has not run for this preset yet",)
    run()
    assert [verdict.reasons for verdict in why(home, preset, TINY)] == [()] * 4
    found = {verdict.label: verdict.reasons for verdict in why(home, preset, [*TINY, "train.steps=5"])}
    assert found["prepare glyphs"] == ()
    assert found["meta-train"] == ("setting train.steps: 4 -> 5",)
    assert found["evaluate"] == found["register"] == ("meta-train comes before it",)
    shutil.rmtree(home.mlflow)
    assert "was deleted or changed" in why(home, preset, TINY, "train")[0].reasons[0]
    with pytest.raises(UsageError, match="unknown step 'trian'; did you mean 'train'"):
        why(home, preset, TINY, "trian")


@pytest.mark.slow
def test_a_changed_line_of_the_backbone_trains_again_and_a_comment_does_not(own_home: Home) -> None:
    def steps() -> list[str]:
        process = run_tiny(own_home)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        return [line.split("  ")[1].strip() for line in out.splitlines() if " ran " in line]

    backbone = own_home.project / "fewshot" / "backbones" / "conv4.py"
    text = backbone.read_text()
    assert steps() == ["prepare glyphs", "meta-train", "evaluate", "register"]
    backbone.write_text(f"# A comment.\n{text}\n\n# Another.\n")
    assert steps() == []
    backbone.write_text(f"{text}\n\n_UNUSED = 1\n")
    assert steps() == ["meta-train", "evaluate", "register"]


@pytest.mark.slow
def test_two_pipelines_at_once_on_a_new_state_both_succeed(own_home: Home) -> None:
    # Each with its own embedded server, on databases that neither has made yet.
    both = [run_tiny(own_home, f"seed={seed}", PREFECT_API_URL="") for seed in (1, 2)]
    for process in both:
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, out + err
        assert "Traceback" not in err
    assert {version.version for version in versions(own_home)} == {1, 2} or len(versions(own_home)) == 2


@pytest.mark.slow
def test_a_killed_run_does_not_stay_running(home: Home) -> None:
    process = run_tiny(home, "train.steps=100000", "train.checkpoint_every=5")
    _wait_for(lambda: list(home.state.glob("training/*/checkpoint-*")), process)
    assert [found.info.status for found in runs(home)] == ["RUNNING"]
    process.kill()
    process.communicate()
    run()
    assert sorted(found.info.status for found in runs(home)) == ["FINISHED", "KILLED"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_goes_on_from_its_checkpoint(home: Home, number: int) -> None:
    process = run_tiny(home, "train.steps=100000", "train.checkpoint_every=5")
    _wait_for(lambda: list(home.state.glob("training/*/checkpoint-*")), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert [found.info.status for found in runs(home)] == ["KILLED"]


def _wait_for(there: Any, process: Any, limit_s: float = 180) -> None:
    deadline = time.monotonic() + limit_s
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
