"""The real flow on a copy of the project, with tiny settings."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml
from project_copy import TINY, run_tiny, wait_for

from fewshot.errors import UsageError
from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment
from fewshot.tracking.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PRESET = "glyphs-protonet-5w1s"
ALL = ["prepare glyphs", "meta-train", "evaluate", "register"]


def run(*overrides: str) -> dict[str, Any]:
    from flows.pipeline import pipeline

    return pipeline(PRESET, [*TINY, *overrides])


def ran(summary: dict[str, Any]) -> list[str]:
    """The steps that were not cached."""
    return [step["label"] for step in summary["steps"] if not step["cached"]]


def runs(home: Home) -> list[Any]:
    client = Store.open(home).client
    return list(client.search_runs([found.experiment_id for found in client.search_experiments()]))


def versions(home: Home) -> list[Any]:
    return list(Store.open(home).client.search_model_versions("name = 'glyphs-protonet'"))


class Lived(NamedTuple):
    """A state folder in which a preset ran, ran again, and ran with another evaluation."""

    home: Home
    first: dict[str, Any]
    again: dict[str, Any]
    other: dict[str, Any]


@pytest.fixture(scope="module")
def lived(template: Path, tmp_path_factory: pytest.TempPathFactory, servers: Any) -> Iterator[Lived]:
    from conftest import at_home

    with at_home(Home(template, tmp_path_factory.mktemp("lived") / "state"), servers) as home:
        yield Lived(home, run(), run(), run("evaluate.episodes=5"))


def test_the_first_run_does_everything_and_makes_a_champion(lived: Lived) -> None:
    assert ran(lived.first) == ALL
    assert (lived.first["model"], lived.first["version"], lived.first["aliases"]) == (
        "glyphs-protonet",
        "1",
        ["champion"],
    )
    assert set(lived.first["results"]) == {"glyphs/5w1s", "glyphs/5w5s"}


def test_the_same_again_is_cached_and_registers_nothing(lived: Lived) -> None:
    assert ran(lived.again) == []
    assert lived.again["results"] == lived.first["results"]
    assert (lived.again["version"], lived.again["run_id"]) == (lived.first["version"], lived.first["run_id"])
    assert len(versions(lived.home)) == len(runs(lived.home)) == 2, "of the first and the other"


def test_another_evaluation_runs_evaluate_and_register_only(lived: Lived) -> None:
    assert ran(lived.other) == ["evaluate", "register"]
    assert (lived.other["version"], lived.other["aliases"]) == ("2", ["challenger"])
    assert lived.other["run_id"] != lived.first["run_id"], "the first run keeps its own evaluation"


def test_a_run_is_complete_whether_or_not_its_training_was_cached(lived: Lived) -> None:
    client = Store.open(lived.home).client
    for summary, episodes in ((lived.first, "4"), (lived.other, "5")):
        found = client.get_run(summary["run_id"])
        assert (found.info.status, found.info.run_name) == ("FINISHED", "glyphs-protonet-5w1s")
        assert found.data.params["evaluate.episodes"] == episodes
        for kind in ("accuracy", "ci95"):
            assert found.data.metrics[f"test/glyphs/5w1s/{kind}"] == summary["results"]["glyphs/5w1s"][kind]
        curve = client.get_metric_history(summary["run_id"], "train/loss")
        assert [point.step for point in curve] == [2, 4]
        assert "validation/accuracy" in found.data.metrics
        origin = {"data_digest", "code_key", "lock_key", "git_commit", "git_dirty", "flow_run"}
        assert {f"fewshot.{name}" for name in origin} <= set(found.data.tags)
        assert set(json.loads(found.data.tags["fewshot.data_md5"])) >= {"data/glyphs/pack", "data/glyphs/split"}
        inputs = {(entry.dataset.name, entry.tags[0].value) for entry in found.inputs.dataset_inputs}
        assert inputs == {("glyphs/scripts", "training"), ("glyphs/scripts test episodes", "evaluation")}
        files = {file.path for file in client.list_artifacts(summary["run_id"])}
        assert {"training_curve.png", "history.json", "evaluation", "confusion"} <= files


def test_a_version_can_be_traced_to_its_origin(lived: Lived) -> None:
    version = Store.open(lived.home).client.get_model_version_by_alias("glyphs-protonet", "champion")
    assert version.run_id == lived.first["run_id"]
    for digest in ("weights_sha256", "data_digest", "code_key"):
        assert len(version.tags[f"fewshot.{digest}"]) == 64
    assert "±" in version.tags["test/glyphs/5w1s"]


def test_the_result_is_a_table_in_prefect(lived: Lived) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["result"])))
    tables = [artifact.data for artifact in found if artifact.description == "glyphs-protonet-5w1s"]
    assert tables
    assert all("| glyphs, 5-way 1-shot |" in table and "±" in table for table in tables)


def test_why_names_what_changed(lived: Lived) -> None:
    from flows.why import why

    now = [*TINY, "evaluate.episodes=5"]
    assert [verdict.reasons for verdict in why(lived.home, PRESET, now)] == [()] * 4
    found = {verdict.label: verdict for verdict in why(lived.home, PRESET, [*now, "train.steps=5"])}
    assert found["prepare glyphs"].reasons == ()
    assert found["meta-train"].reasons == ("setting train.steps: 4 -> 5",)
    assert found["evaluate"].reasons == found["register"].reasons == ("meta-train comes before it",)
    (verdict,) = why(lived.home, PRESET, TINY, "evaluate")
    assert verdict.reasons == ("setting evaluate.episodes: 5 -> 4",)
    assert verdict.stored, "the first run had just these"
    never = why(lived.home, "omniglot-maml-5w1s", [])
    assert {verdict.reasons for verdict in never} == {("it has not run for this preset yet",)}
    with pytest.raises(UsageError, match="unknown step 'trian'; did you mean 'train'"):
        why(lived.home, PRESET, TINY, "trian")


def test_deleted_weights_are_trained_again_to_the_same_numbers(lived: Lived) -> None:
    shutil.rmtree(lived.home.state / "training")
    again = run()
    assert "meta-train" in ran(again)
    assert again["results"] == lived.first["results"]
    assert len(versions(lived.home)) == 2, "the same weights and results make no further version"
    assert ran(run()) == []


def test_a_version_whose_files_were_deleted_is_given_them_again(lived: Lived) -> None:
    from fewshot.tracking.artifact import model_folder

    shutil.rmtree(lived.home.mlflow / "artifacts")
    again = run()
    assert ran(again) == ["register"]
    assert (again["version"], again["aliases"]) == ("1", ["champion"])
    assert (model_folder(Store.open(lived.home), "models:/glyphs-protonet@champion") / "model.json").is_file()
    assert ran(run()) == []


def test_a_stored_record_that_was_changed_is_not_believed(lived: Lived, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = [one for one in lived.home.results.glob("evaluate-*") if lived.first["run_id"] in one.read_text()]
    accuracy = str(lived.first["results"]["glyphs/5w1s"]["accuracy"])
    assert accuracy in file.read_text()
    file.write_text(file.read_text().replace(accuracy, "0.99"))
    last = lived.home.state / "last" / f"{PRESET}.json"
    last.write_text(last.read_text()[:-100])
    again = run()
    assert "evaluate" in ran(again)
    assert again["results"] == lived.first["results"]
    assert "what the last run was made of is forgotten" in capsys.readouterr().err


@pytest.mark.slow
def test_a_deleted_mlflow_database_is_filled_again_without_training(lived: Lived, tmp_path: Path) -> None:
    # In another folder and process, as this one keeps the file open.
    moved, first = Home(lived.home.project, tmp_path / "moved"), lived.first
    shutil.copytree(lived.home.state, moved.state)
    shutil.rmtree(moved.mlflow)
    written = next(moved.state.glob("training/*/model/weights.safetensors")).stat().st_mtime_ns
    elsewhere = environment(
        moved, {name: os.environ[name] for name in ("PATH", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
    )
    out, err = run_tiny(moved, **elsewhere).communicate(timeout=300)
    assert [line.split()[-3] for line in out.splitlines()[1:5]] == ["cached", "ran", "ran", "ran"], out + err
    assert next(moved.state.glob("training/*/model/weights.safetensors")).stat().st_mtime_ns == written
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", elsewhere["MLFLOW_TRACKING_URI"])
        (healed,) = runs(moved)
        assert healed.info.run_id != first["run_id"]
        assert healed.data.metrics["test/glyphs/5w1s/accuracy"] == first["results"]["glyphs/5w1s"]["accuracy"]
        curve = Store.open(moved).client.get_metric_history(healed.info.run_id, "train/loss")
        assert [point.step for point in curve] == [2, 4]
        assert len(versions(moved)) == 1


def test_new_data_runs_everything_again(own_home: Home) -> None:
    from flows.why import why

    first = run()
    declared = own_home.project / "data" / "datasets.yaml"
    declared.write_text(declared.read_text().replace("seed: 0", "seed: 1"))
    assert "datasets.yaml" in why(own_home, PRESET, TINY)[0].reasons[0]
    again = run()
    assert ran(again) == ALL
    assert again["results"] != first["results"]
    assert ran(run()) == []


def test_other_bytes_from_the_same_inputs_are_said_and_taken(own_home: Home) -> None:
    from flows.dvc import commands as dvc

    lock = own_home.project / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())
    stages["stages"]["split@glyphs"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    lock.write_text(yaml.safe_dump(stages))
    assert list(dvc.stale(own_home, ["glyphs"])) == ["glyphs"]
    assert "same inputs, but other bytes than dvc.lock had (split)" in dvc.prepare(own_home, "glyphs")
    assert dvc.stale(own_home, ["glyphs"]) == {}
    assert dvc.dvc_lock(own_home, "glyphs")["data/glyphs/split"] != "0" * 32 + ".dir"


@pytest.mark.slow
def test_a_changed_line_of_the_chosen_backbone_trains_again_and_none_of_another_method(own_home: Home) -> None:
    def steps() -> list[str]:
        process = run_tiny(own_home)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        return [line.split("  ")[1].strip() for line in out.splitlines() if " ran " in line]

    run()  # the same code, although from another folder and in another process
    package = own_home.project / "fewshot"
    backbone = package / "backbones" / "conv4.py"
    text = backbone.read_text()
    backbone.write_text(f"# A comment.\n{text}\n\n# Another.\n")
    for other in ("methods/maml.py", "backbones/resnet12.py"):
        with (package / other).open("a") as file:
            file.write("\n\n_UNUSED = 1\n")
    assert steps() == []
    backbone.write_text(f"{text}\n\n_UNUSED = 1\n")
    assert steps() == ["meta-train", "evaluate", "register"]


@pytest.mark.slow
def test_two_pipelines_at_once_on_a_new_state_both_succeed(own_home: Home) -> None:
    # Each with its own embedded server, on databases that neither has made yet.
    shutil.rmtree(own_home.state)
    # A proxy that is not there is for other machines.
    proxies = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
    }
    both = [run_tiny(own_home, f"seed={seed}", PREFECT_API_URL="", **proxies) for seed in (1, 2)]
    for process in both:
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, out + err
        assert "Traceback" not in err
    assert sorted(version.version for version in versions(own_home)) == [1, 2]


@pytest.mark.slow
def test_killed_and_interrupted_runs_do_not_stay_running_and_lose_nothing(home: Home) -> None:
    def start(**variables: str) -> Any:
        return run_tiny(home, "train.steps=100000", "train.checkpoint_every=5", **variables)

    def steps_done() -> int:
        return max((int(file.name.split("-")[1]) for file in home.state.glob("training/*/checkpoint-*")), default=0)

    killed = start(PREFECT_API_URL="")
    wait_for(steps_done, killed)
    assert [found.info.status for found in runs(home)] == ["RUNNING"]
    (server,) = psutil.Process(killed.pid).children()
    killed.kill()
    killed.communicate(timeout=20)
    assert psutil.wait_procs([server], timeout=20)[0], "the embedded server ends with its parent"
    before = steps_done()
    interrupted = start()
    wait_for(lambda: steps_done() > before, interrupted)
    assert sorted(found.info.status for found in runs(home)) == ["KILLED", "RUNNING"]
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate(timeout=120)
    assert interrupted.returncode == 130, err
    assert "run the same command again to go on" in err
    assert "was left behind by a process that was killed" in err
    assert "Traceback" not in err
    assert [found.info.status for found in runs(home)] == ["KILLED", "KILLED"]
