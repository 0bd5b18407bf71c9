"""Model folders that lie: each is refused in a sentence, before anything large is made or believed."""

import json
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from earlier_state import LEGACY

from fewshot.errors import DamagedFileError, FewshotError, UsageError
from fewshot.model import load_model
from fewshot.system.files import sha256_file, write_json

SOURCE = LEGACY / "models" / "protonet"
WEIGHTS = (SOURCE / "weights.safetensors").read_bytes()
LENGTH = struct.unpack("<Q", WEIGHTS[:8])[0]
HEAD, BODY = json.loads(WEIGHTS[8 : 8 + LENGTH]), WEIGHTS[8 + LENGTH :]
FIRST = next(name for name in HEAD if name != "__metadata__")


def folder(place: Path, weights: bytes = WEIGHTS, **changed: Any) -> Path:
    """A model folder whose digests are right; "a__b" is the entry b of a, ... leaves it out."""
    place.mkdir(exist_ok=True)
    (place / "weights.safetensors").write_bytes(weights)
    values = json.loads((SOURCE / "model.json").read_text())
    del values["sha256"]
    values["weights_sha256"] = sha256_file(place / "weights.safetensors")
    for name, value in changed.items():
        *path, last = name.split("__")
        inside = values
        for part in path:
            inside = inside[part]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
    write_json(place / "model.json", values)
    return place


def packed(head: dict[str, Any], body: bytes = BODY, length: int | None = None) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def lie(**changed: Any) -> bytes:
    return packed({**HEAD, FIRST: HEAD[FIRST] | changed})


@pytest.mark.parametrize(
    "weights",
    [
        packed(HEAD, length=2**60), packed(HEAD, length=100_000_001), lie(data_offsets=[0, 2**50]),
        lie(data_offsets=[-8, 8]), lie(data_offsets=[0, 4]), lie(shape=[2**31, 2**31]), lie(dtype="F64"),
        lie(dtype="I32"), lie(dtype="PICKLE"), WEIGHTS[:100], b"", b"\x80\x04cos\nsystem\n(S'false'\ntR.",
        struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000,
        packed({**HEAD, "more": {"dtype": "F32", "shape": [0], "data_offsets": [len(BODY), len(BODY)]}}),
        packed(HEAD, b"\xff" * len(BODY)), packed(HEAD, b"\x00\x00\x80\x7f" * (len(BODY) // 4)),
    ],
)  # fmt: skip
def test_weights_that_lie_are_refused(weights: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"weights\.safetensors .*; delete the folder and train again"):
        load_model(folder(tmp_path / "m", weights), "cpu")


@pytest.mark.parametrize(
    "changed",
    [
        {"image_shape": ...}, {"image_shape": None}, {"image_shape": "../../x"}, {"image_shape": [1, 28.5, 28]},
        {"image_shape": [1, -28, -28]}, {"image_shape": [0, 0, 0]}, {"image_shape": [1, 100_000, 100_000]},
        {"image_shape": [10**6, 28, 28]}, {"image_shape": [1, 28]}, {"image_shape": [True, 28, 28]},
        {"data": ...}, {"data": []}, {"data__classes": ...}, {"data__classes": "abc"}, {"data__classes": [1]},
        {"data__dataset": 7}, {"data__more": 1}, {"weights_sha256": 7}, {"weights_sha256": ...},
        {"settings": ...}, {"settings": None}, {"settings": []}, {"settings__evil": 1}, {"settings__backbone": []},
        {"settings__backbone__channels": 10**6}, {"settings__backbone__channels": 10**18},
        {"settings__backbone__channels": 10**30}, {"settings__threads": 10**6},
        {"settings__method__name": "../../evil"},
        {"settings__backbone": {"name": "os.system"}}, {"settings__method": {"name": "os:system"}},
        {"settings__train__precision": "evil"}, {"settings__train": ...}, {"format": [1]}, {"format": {}},
    ],
)  # fmt: skip
def test_a_description_that_lies_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    place = folder(tmp_path / "m", **changed)
    if changed == {"settings__train": ...}:  # settings have defaults
        assert load_model(place, "cpu").image_shape == (1, 16, 16)
        return
    with pytest.raises(FewshotError) as said:
        load_model(place, "cpu")
    assert "\n" not in str(said.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "half a GiB"


def _deep(place: Path) -> None:
    place.write_text('{"a":' * 5000 + "1" + "}" * 5000)


@pytest.mark.parametrize("make", [_deep, lambda at: at.write_text("[1]"), lambda at: at.symlink_to("/etc/passwd")])
def test_a_file_that_is_no_description_is_refused(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / "model.json")
    with pytest.raises(DamagedFileError, match=r"model\.json is not a whole JSON file of this program"):
        load_model(tmp_path, "cpu")


def _large(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda at: at.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(make: Callable[[Path], Any], name: str, tmp_path: Path) -> None:
    place = folder(tmp_path / "m")
    (place / name).unlink()
    make(place / name)
    with pytest.raises(DamagedFileError, match=rf"{name} is no file, but a folder, pipe, socket or device"):
        load_model(place, "cpu")


def test_a_description_of_any_size_is_not_read(tmp_path: Path) -> None:
    _large(tmp_path / "model.json")
    with pytest.raises(DamagedFileError, match=r"model\.json is larger than any description of a model"):
        load_model(tmp_path, "cpu")


@pytest.mark.parametrize("kind", ["method", "backbone"])
@pytest.mark.parametrize("reference", ["net.py:Net", "{1}_net:Net", "{1}.net:Net", "{0}/net.py:Net", "m/../net.py:Net"])
def test_code_that_a_model_names_is_not_run(
    reference: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / kind).mkdir()  # a module is imported once in a process: each case has its own
    for file in ("net.py", f"{kind}_net.py", f"{kind}/__init__.py", f"{kind}/net.py"):
        (tmp_path / file).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    place = folder(tmp_path / "m", **{f"settings__{kind}": {"name": reference.format(tmp_path, kind)}})
    with pytest.raises(UsageError, match=rf"model\.json names code that is not fewshot's own \({kind}\.name="):
        load_model(place, "cpu")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match="has no class Net"):
        load_model(place, "cpu", trust_code=True)
    assert (tmp_path / "ran").exists()
