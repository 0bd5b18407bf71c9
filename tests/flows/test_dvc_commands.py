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
