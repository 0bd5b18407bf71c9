"""The command line: what is wrong is said in one line, with an exit status and no traceback."""

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewshot.project.doctor import known_bad, torch_pair
from fewshot.project.fingerprints import SOURCES
from flows.cli.app import ORDER, build_app, main

pytestmark = pytest.mark.usefixtures("command_line_leaves_no_trace")

WRONG = [
    (["run", "glyphs-protonet"], 2, "unknown preset 'glyphs-protonet'; did you mean 'glyphs-protonet-5w1s'?"),
    (["run", "--set", "data.dataset=omniglott"], 2, "unknown dataset 'omniglott'; did you mean 'omniglot'?"),
    (["run", "--set", "train.step=3"], 2, "unknown setting 'train.step'; did you mean 'train.steps'?"),
    (["run", "--set", "train.steps"], 2, "'train.steps' is not of the form setting=value"),
    (["run", "--set", "train.steps=-1"], 2, "setting train.steps = -1"),
    (["run", "--set", "method.name=promonet"], 2, "method"),
    (["run", "--set", "evaluate.also=['nowhere']"], 2, "unknown dataset 'nowhere'"),
    (["train", "--set", "device=gpu"], 2, "setting device = 'gpu'"),
    (["data", "show", "omniglott"], 2, "unknown dataset 'omniglott'"),
    (["data", "prepare", "glyph"], 2, "unknown dataset 'glyph'; did you mean 'glyphs'?"),
    (["evaluate", "nowhere"], 1, "nowhere holds no model.json; give a model folder or models:/NAME@champion"),
    (["runn"], 2, "No such command 'runn'"),
    (["run", "--sett", "a=b"], 2, "No such option"),
    (["clean", "--keep-days", "740000"], 2, "--keep-days"),
    (["run", "--set", "clean.keep_days=740000"], 2, "setting clean.keep_days = 740000"),
    (["rollback", "glyphs-protonet", "--to", ""], 2, "--to names no version; fewshot history glyphs-protonet shows"),
    (["ui", "--mlflow-port", "5613", "--prefect-port", "5613"], 2, "both pages would have port 5613; give two"),
    (["data", "watch", str(Path.home())], 2, "holds your home folder; give a folder of images alone"),
    (["why", "trian"], 2, "unknown step 'trian'; did you mean 'train'?"),
]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(SOURCES)
    monkeypatch.setenv("FEWSHOT_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("FEWSHOT_PROJECT", raising=False)
    monkeypatch.setattr("fewshot.project.tool_environment.prepare_environment", lambda home: None)


@pytest.mark.parametrize(("arguments", "status", "message"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_input_is_one_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_working_folder_that_was_deleted_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command in (["presets"], ["history", "glyphs-protonet"]):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith("error: the working folder was deleted; go to one that is there")


def test_a_gpu_that_is_not_there_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(["run", "--set", "device=cuda:97"]) == 2
    assert "device=cuda:97 was asked for, but this machine has" in capsys.readouterr().err
    assert time.monotonic() - began < 20


def test_outside_a_project_the_error_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "list"]) == 2
    assert f"no project at {tmp_path} or above it: dvc.yaml and prefect.yaml not found" in capsys.readouterr().err


def test_a_taken_port_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--mlflow-port", str(port)]) == 1
    assert f"port {port} for MLflow can't be used" in capsys.readouterr().err


def test_a_prefect_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewshot.errors import PipelineError
    from fewshot.project.paths import find_home
    from flows.servers.ephemeral_prefect import free_port, prefect_api

    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    with (
        prefect_api(find_home()) as ready,
        pytest.raises(PipelineError, match=r"does not answer .* unset PREFECT_API_URL"),
    ):
        ready()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full (a/file); free some space"),
        (errno.EROFS, "a/file is on a read-only file system; set FEWSHOT_HOME"),
        (errno.EACCES, "no permission for a/file"),
    ],
)
def test_what_the_disk_refuses_is_one_line(
    number: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> list[str]:
        raise OSError(number, os.strerror(number), "a/file")

    monkeypatch.setattr("fewshot.settings.presets.list_presets", refuse)
    assert main(["presets"]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("fewshot.settings.presets.list_presets", interrupt)
    assert main(["presets"]) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to continue\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FEWSHOT_DEBUG", "")
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    assert main(["--debug", "run", "nothing"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_help_comes_within_half_a_second_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom flows.cli.app import main\nmain(['--help'])\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'numpy', 'pydantic', 'dvc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    times = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program], cwd=SOURCES, capture_output=True, text=True)
        after = os.times()
        # The processor's time, which is all that it takes on a quiet machine; other tests run beside this one.
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.returncode == 0, done.stderr
    assert min(times) < 0.5, times


@pytest.mark.parametrize(
    "command",
    ["run", "why", "ui", "env", "train", "evaluate", "classify", "presets", "encoders", "doctor", "data list"],
)
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"fewshot {command}" in " ".join(out.split())


def test_an_app_is_built_on_request_and_the_library_has_one_without_the_pipeline() -> None:
    program = (
        "import sys\nfrom fewshot.cli.app import build_app\n"
        "names = {command.callback.__name__ for command in build_app().registered_commands}\n"
        "assert {'train', 'evaluate', 'rollback', 'report'} <= names, names\n"
        "assert not {name for name in sys.modules if name.startswith('flows')}"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCES, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = build_app(), build_app()
    assert len(first.registered_commands) == len(second.registered_commands) == len(set(ORDER)) == len(ORDER)


def test_presets_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    assert "glyphs-protonet-5w1s" in capsys.readouterr().out


def test_encoders_are_listed_with_how_to_choose_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    out = capsys.readouterr().out
    assert "backbone.name=lite0\n" in out
    assert "backbone.name=timm backbone.network=vit_small_patch14_dinov2.lvd142m backbone.size=224\n" in out


def test_the_environment_keeps_everything_in_the_state_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    assert main(["env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"export PREFECT_HOME={tmp_path / 'state' / 'prefect'}" in lines
    assert f"export MLFLOW_TRACKING_URI=sqlite:///{tmp_path / 'state' / 'mlflow' / 'mlflow.db'}" in lines
    assert "export MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in lines


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import environment

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    assert environment(find_home())["MLFLOW_TRACKING_URI"] == "http://elsewhere:5000"
    assert find_home().tracking_uri == "http://elsewhere:5000"


def test_versions_that_break_others_are_known() -> None:
    assert known_bad("fastapi", "0.150.0") is None
    assert "pip install 'fastapi<0.151'" in str(known_bad("fastapi", "0.151.0"))
    assert known_bad("sqlalchemy", "2.0.58") is None
    assert "pip install 'sqlalchemy<2.1'" in str(known_bad("sqlalchemy", "2.1.0b1"))


def test_torch_and_torchvision_must_be_a_pair() -> None:
    assert torch_pair("2.14.1", "0.29.1") is None
    assert torch_pair("2.14.1+cpu", "0.29.1+cpu") is None
    assert "are no pair" in str(torch_pair("2.14.1", "0.28.0"))


def test_doctor_finds_this_installation_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "broken" not in capsys.readouterr().out


def test_doctor_fails_where_the_state_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEWSHOT_HOME", str(tmp_path / "file" / "state"))
    assert main(["doctor"]) == 1
    assert "can't be written" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["run"], ["train"], ["evaluate", "models:/m@champion"]], ids=" ".join)
def test_a_read_only_state_folder_is_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "read-only"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a read-only file system needs root")
    try:
        monkeypatch.setenv("FEWSHOT_HOME", str(place / "state"))
        assert main(command) == 1
    finally:
        subprocess.run(["umount", str(place)], check=True)
    err = capsys.readouterr().err
    assert "read-only file system; set FEWSHOT_HOME" in err or "is not prepared" in err
    assert err.count("\n") == 1
