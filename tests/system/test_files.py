"""Whole or nothing: atomic writes and sealed JSON."""

import os
from pathlib import Path

import pytest

from fewshot.errors import DamagedFileError
from fewshot.system.files import (
    canonical_json,
    read_json,
    sha256_file,
    sha256_json,
    write_atomically,
    write_bytes,
    write_json,
)


def test_a_digest_is_the_published_one(tmp_path: Path) -> None:
    write_bytes(tmp_path / "abc", b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_values_give_equal_text_whatever_the_order_of_keys() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ä"}) == '{"a":"ä","b":[1,2.5]}'
    assert sha256_json({"b": 1, "a": 2}) == sha256_json({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")

    def fails(path: Path) -> None:
        path.write_bytes(b"half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "file", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_new_file_appears_by_rename_after_it_was_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("flush"), sync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda path, other: (done.append("rename"), replace(path, other))[1])
    write_bytes(tmp_path / "new" / "file", b"content")
    assert done == ["flush", "rename", "flush"]


def test_sealed_json_comes_back_without_its_seal(tmp_path: Path) -> None:
    value = {"name": "ä", "list": [1, 2], "none": None}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", "") == value


def test_a_missing_changed_or_foreign_file_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(DamagedFileError, match=r"a.json does not exist; run it again"):
        read_json(path, "run it again")
    write_json(path, {"number": 1})
    path.write_text(path.read_text().replace(": 1,", ": 2,"))
    with pytest.raises(DamagedFileError, match=r"was changed after it was written .*; run it again"):
        read_json(path, "run it again")
    for content in (b"{", b"[]", b"{}", b"\xff\xfe", b"3"):
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"is not a whole JSON file of this program; run it again"):
            read_json(path, "run it again")
