"""Bytes that changed or went: in DVC's cache, in data/, in checkpoints. Each is found by its digest, and made good."""

import json
import os
import shutil
from pathlib import Path

import pytest
from project_copy import TINY, ended, python, run_tiny, wait_for

from fewshot.data.dataset import open_dataset
from fewshot.project.paths import Home
from fewshot.settings.presets import load_settings
from fewshot.system.files import sha256_file
from fewshot.training.loop import train
from flows.dvc import commands as dvc

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

PRESET = "glyphs-protonet-5w1s"


def own(file: Path) -> None:
    """Make a file one of its own: those of the copies of a project are linked to each other."""
    copy = file.with_name(f".{file.name}.copy")
    shutil.copy2(file, copy)
    copy.replace(file)


def flip(file: Path) -> None:
    """Change one bit where it stands; neither size nor time nor mode tell."""
    before = file.stat()
    os.chmod(file, 0o644)
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        last = opened.read(1)[0]
        opened.seek(-1, os.SEEK_END)
        opened.write(bytes([last ^ 1]))
    os.chmod(file, before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def in_cache(home: Home, path: str) -> Path:
    """The object of DVC's cache that holds data/glyphs/pack/images.npy and such."""
    folder, _, name = path.rpartition("/")
    objects = home.project / ".dvc" / "cache" / "files" / "md5"
    md5 = dvc.dvc_lock(home, "glyphs")[folder]
    listed = {entry["relpath"]: entry["md5"] for entry in json.loads((objects / md5[:2] / md5[2:]).read_text())}
    return objects / listed[name][:2] / listed[name][2:]


def dvc_command(home: Home, *arguments: str) -> None:
    status, text = ended(python(home, "-m", "dvc", *arguments))
    assert status == 0, text


@pytest.mark.slow
def test_lost_and_damaged_objects_of_the_cache_come_from_the_remote_or_are_made_again(own_home: Home) -> None:
    packed, pack = "data/glyphs/pack/images.npy", own_home.data / "glyphs" / "pack"
    good = sha256_file(own_home.project / packed)
    dvc_command(own_home, "push", "split@glyphs", "pack@glyphs", "fetch@glyphs")

    own(in_cache(own_home, packed))
    flip(in_cache(own_home, packed))
    shutil.rmtree(pack)
    made = (own_home.data / "glyphs" / "split" / "scripts.json").stat().st_mtime_ns
    remark = dvc.prepare(own_home, "glyphs")
    assert "glyphs: damaged, deleted and fetched or made again: .dvc/cache/files/md5/" in remark
    assert sha256_file(own_home.project / packed) == good == sha256_file(in_cache(own_home, packed))

    in_cache(own_home, packed).unlink()
    shutil.rmtree(pack)
    assert dvc.prepare(own_home, "glyphs") == ""
    assert sha256_file(own_home.project / packed) == good == sha256_file(in_cache(own_home, packed))
    assert (own_home.data / "glyphs" / "split" / "scripts.json").stat().st_mtime_ns == made, "nothing was made again"
    assert dvc.stale(own_home, ["glyphs"]) == {}


@pytest.mark.slow
def test_a_bit_that_flipped_in_the_data_is_found_and_healed_by_the_pipeline(own_home: Home) -> None:
    packed = own_home.data / "glyphs" / "pack" / "images.npy"
    own(packed)
    status, text = ended(run_tiny(own_home))
    assert status == 0, text
    good = sha256_file(packed)
    flip(packed)
    assert dvc.stale(own_home, ["glyphs"]) == {}, "DVC does not see it"
    status, text = ended(run_tiny(own_home, "seed=1"))
    assert status == 0, text
    assert "glyphs: damaged, deleted and fetched or made again: data/glyphs/pack/images.npy" in text
    assert sha256_file(packed) == good
    status, text = ended(run_tiny(own_home))
    assert status == 0, text
    assert "everything was cached" in text


@pytest.mark.slow
def test_damaged_checkpoints_end_in_the_same_weights(home: Home, tmp_path: Path) -> None:
    longer = ["train.steps=60", "train.validate_every=20", "train.checkpoint_every=5"]

    def checkpoints() -> list[Path]:
        return sorted(home.state.glob("training/*/checkpoint-*"))

    killed = run_tiny(home, *longer)
    wait_for(lambda: len(checkpoints()) == 2, killed)
    killed.kill()
    killed.communicate(timeout=20)
    before, newest = checkpoints()
    newest.write_bytes(newest.read_bytes()[:1000])
    kept = {file.name: file.read_bytes() for file in (before, newest)}
    status, text = ended(run_tiny(home, *longer))
    assert status == 0, text
    assert f"{newest} is damaged and was deleted" in text
    assert f"going on from the checkpoint before, of step {int(before.name.split('-')[1])}" in text
    dataset = open_dataset(home.data, "glyphs", "scripts")
    undisturbed = train(load_settings(PRESET, [*TINY, *longer]), dataset, tmp_path / "undisturbed")
    [weights] = home.state.glob("training/*/model/weights.safetensors")
    assert sha256_file(weights) == undisturbed.weights_sha256

    # As it was when it was killed, with nothing whole any more.
    folder = newest.parent
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    flip(folder / before.name)
    status, text = ended(run_tiny(home, *longer))
    assert status == 0, text
    assert f"no whole checkpoint is left in {folder}; the training begins anew" in text
    assert sha256_file(weights) == undisturbed.weights_sha256
