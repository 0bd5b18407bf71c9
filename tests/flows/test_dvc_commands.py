"""DVC by its command line: what its stages see, and how their errors arrive."""

import shutil
from pathlib import Path

import pytest

from fewshot.errors import DataError
from fewshot.project.paths import Home
from flows.dvc import commands as dvc


def test_stages_see_the_mirror_and_their_error_arrives_whole(own_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = own_home.state / "empty"
    mirror.mkdir()
    monkeypatch.setenv("FEWSHOT_MIRROR", str(mirror))
    with pytest.raises(
        DataError, match=r"FEWSHOT_MIRROR=.*empty holds no images_background\.zip; put it there"
    ) as error:
        dvc.prepare(own_home, "omniglot")
    assert "\n" not in str(error.value)


def test_data_that_was_deleted_is_stale_and_comes_back_with_the_same_md5(own_home: Home) -> None:
    before = dvc.dvc_lock(own_home, "glyphs")
    assert dvc.stale(own_home, ["glyphs"]) == {}
    shutil.rmtree(Path(own_home.data / "glyphs" / "split"))
    assert "data/glyphs/split" in dvc.stale(own_home, ["glyphs"])["glyphs"]
    assert dvc.prepare(own_home, "glyphs") == ""
    assert dvc.stale(own_home, ["glyphs"]) == {}
    assert dvc.dvc_lock(own_home, "glyphs") == before


def test_a_lost_cache_is_filled_again_from_data_that_are_whole(own_home: Home) -> None:
    before = dvc.dvc_lock(own_home, "glyphs")
    shutil.rmtree(own_home.project / ".dvc" / "cache")
    assert dvc.prepare(own_home, "glyphs") == ""
    assert dvc.dvc_lock(own_home, "glyphs") == before
    assert (own_home.project / ".dvc" / "cache" / "files").is_dir()
    # Data that are not those of dvc.lock are not taken for them: they are made again.
    shutil.rmtree(own_home.project / ".dvc" / "cache")
    scheme = own_home.data / "glyphs" / "split" / "scripts.json"
    text = scheme.read_text()
    scheme.unlink()
    scheme.write_text(text.replace("train", "trian"))
    dvc.prepare(own_home, "glyphs")
    assert scheme.read_text() == text
    assert dvc.dvc_lock(own_home, "glyphs") == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dvc.lock", "<<<<<<< HEAD\n=======\n>>>>>>> other\n", r"dvc\.lock holds a merge conflict; keep one side"),
        (
            "data/datasets.yaml",
            "a: [1\nb: 2\n",
            r"datasets\.yaml is not valid in line 2 .*; correct it, or restore it: git checkout data/datasets",
        ),
        ("data/datasets.yaml", "- a\n", r"holds no names and values; restore it: git checkout data/datasets\.yaml"),
        (
            ".dvc/config",
            "<<<<<<< HEAD\n[core]\n=======\n>>>>>>> other\n",
            r"\.dvc/config holds a merge conflict; keep one side \(git checkout --ours \.dvc/config",
        ),
        (".dvc/config", "[core\n", r"config is no configuration of DVC's .*restore it: git checkout \.dvc/config"),
    ],
)
def test_what_is_wrong_in_a_file_that_git_changes_is_said(own_home: Home, name: str, text: str, message: str) -> None:
    file = own_home.project / name
    file.write_text(text)
    for work in (lambda: dvc.stale(own_home, ["glyphs"]), lambda: dvc.prepare(own_home, "glyphs")):
        with pytest.raises(DataError, match=message):
            work()


def test_an_error_that_a_stage_does_not_foresee_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fewshot.data import __main__ as stages

    monkeypatch.setattr(stages, "_run", lambda *_: {}["nothing"])
    assert stages.main(["pack", "glyphs", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(
        "error: pack of glyphs met what it does not foresee (KeyError: 'nothing')"
    )
