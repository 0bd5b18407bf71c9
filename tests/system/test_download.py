"""Downloads against a real server on this machine: cuts, failures, mirrors, a full and a read-only disk."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.download import MIRROR, TRIES, fetch_file

CONTENT = bytes(range(256)) * 1000


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the first answers may fail or be cut. Remembers the Range of each request."""

    def __init__(self, answers: list[int | str], ranges: bool = True, etags: list[str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.with_ranges, self.etags = answers, ranges, etags or []
        self.requests: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/folder/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        number = len(server.requests)
        server.requests.append(asked)
        answer = server.answers[number] if number < len(server.answers) else "whole"
        if isinstance(answer, int):
            self.send_error(answer)
            return
        etag = server.etags[number] if number < len(server.etags) else '"one"'
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.with_ranges else 0
        if self.headers.get("If-Range", etag) != etag:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        end = start + 100_000 if answer == "cut" else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answers: list[int | str], ranges: bool = True, etags: list[str] | None = None) -> Iterator[Server]:
    with Server(answers, ranges, etags) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def whole(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise DamagedFileError(f"{path.name} is wrong")


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR, raising=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    with mounted(tmp_path / "disk", "size=64k") as folder:
        yield folder


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    with serving([]) as server:
        for _ in range(2):
            fetch_file(server.address, tmp_path / "raw" / "file.bin", whole)
        assert server.requests == [None]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["file.bin"]


def test_a_cut_download_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    with serving(["cut", "cut"]) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=0.0)
        assert server.requests == [None, "bytes=100000-", "bytes=200000-"]
    whole(tmp_path / "file.bin")


def test_a_server_without_ranges_is_asked_for_all_again(tmp_path: Path) -> None:
    with serving(["cut"], ranges=False) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=0.0)
        assert server.requests == [None, "bytes=100000-"]
    whole(tmp_path / "file.bin")


def test_two_versions_of_a_file_are_never_mixed(tmp_path: Path) -> None:
    with serving(["cut"], etags=['"one"', '"two"']) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=0.0)
    whole(tmp_path / "file.bin")


def test_a_half_left_by_an_earlier_run_is_completed(tmp_path: Path) -> None:
    (tmp_path / ".file.bin.part").write_bytes(CONTENT[:1000])
    with serving([]) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole)
        assert server.requests == ["bytes=1000-"]
    whole(tmp_path / "file.bin")


def test_a_half_of_something_else_is_found_and_not_kept(tmp_path: Path) -> None:
    (tmp_path / ".file.bin.part").write_bytes(b"something else")
    with serving([]) as server:
        with pytest.raises(DamagedFileError, match=r"what came from http.* is not what was meant"):
            fetch_file(server.address, tmp_path / "file.bin", whole)
        assert not list(tmp_path.iterdir())
        fetch_file(server.address, tmp_path / "file.bin", whole)


def test_a_range_beyond_the_end_starts_anew(tmp_path: Path) -> None:
    (tmp_path / ".file.bin.part").write_bytes(CONTENT + b"more")
    with serving([416]) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=0.0)
        assert server.requests == ["bytes=256004-", None]


def test_a_missing_file_is_reported_at_once(tmp_path: Path) -> None:
    with serving([404]) as server:
        with pytest.raises(
            DataError, match=r"file.bin: the server answered 404; check the network, or set FEWSHOT_MIR"
        ):
            fetch_file(server.address, tmp_path / "file.bin", whole)
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failing_server_is_asked_again(tmp_path: Path, status: int) -> None:
    with serving([status, status]) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=0.0)
        assert len(server.requests) == 3


def test_pauses_between_tries_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("fewshot.system.download.time.sleep", pauses.append)
    with serving([500] * TRIES) as server, pytest.raises(DataError, match="after 5 tries: the server answered 500"):
        fetch_file(server.address, tmp_path / "file.bin", whole, pause_s=1.0)
    assert pauses == [1, 2, 4, 8]


def test_no_server_at_all_is_reported_after_all_tries(tmp_path: Path) -> None:
    with serving([]) as server:
        address = server.address
    with pytest.raises(DataError, match=r"after 5 tries: .*[Cc]onnection refused"):
        fetch_file(address, tmp_path / "file.bin", whole, pause_s=0.0)


def test_a_mirror_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    fetch_file("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", whole)
    whole(tmp_path / "file.bin")


def test_a_mirror_may_be_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving([]) as server:
        monkeypatch.setenv(MIRROR, server.address.removesuffix("file.bin"))
        fetch_file("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", whole)
    whole(tmp_path / "file.bin")


def test_a_mirror_that_is_missing_or_lacks_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"FEWSHOT_MIRROR=.*none is no folder; .* holds file.bin"):
        fetch_file("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", whole)
    monkeypatch.setenv(MIRROR, str(tmp_path))
    with pytest.raises(DataError, match=r"holds no file.bin; put it there, or unset FEWSHOT_MIRROR"):
        fetch_file("http://127.0.0.1:9/file.bin", tmp_path / "raw" / "file.bin", whole)


def test_a_damaged_file_that_is_there_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"damaged")
    with serving([]) as server:
        fetch_file(server.address, tmp_path / "file.bin", whole)
    whole(tmp_path / "file.bin")


def test_a_full_disk_leaves_nothing_behind(small_disk: Path) -> None:
    with (
        serving([]) as server,
        pytest.raises(DataError, match=r"the disk is full, .* was not written; free some space"),
        disk_errors(small_disk),
    ):
        fetch_file(server.address, small_disk / "file.bin", whole)
    assert not list(small_disk.iterdir())


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    message = r"can't write to .*disk \(Read-only file system\); make it writable"
    with (
        mounted(tmp_path / "disk", "ro,size=64k") as folder,
        pytest.raises(DataError, match=message),
        disk_errors(folder),
    ):
        fetch_file("http://127.0.0.1:9/file.bin", folder / "raw" / "file.bin", whole)
