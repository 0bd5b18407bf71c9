"""Whether the process that a mark names still lives: three answers."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.system.files import write_json
from fewshot.system.process_id import Liveness, is_dead, liveness, mark_of, this_process
from flows.servers.supervisor import Supervisor

SLEEPER = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(100)"]
HOLDER = (
    "import sys, time; from pathlib import Path; from fewshot.system.process_id import this_process; "
    "print(this_process(Path(sys.argv[1])), flush=True); time.sleep(100)"
)


def test_a_living_process_is_alive_and_one_that_ended_is_dead() -> None:
    assert liveness(this_process()) is Liveness.ALIVE
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        mark = mark_of(other.pid)
        assert liveness(mark) is Liveness.ALIVE
        # As an earlier version wrote it, without the namespace.
        assert liveness(mark.rpartition("+")[0]) is Liveness.ALIVE
        other.kill()
    assert liveness(mark) is Liveness.DEAD
    assert liveness(mark.rpartition("+")[0]) is Liveness.DEAD


def test_a_number_that_is_used_again_is_another_process() -> None:
    host, pid, start = this_process().split("/")
    boot, ticks, namespace = start.split("+")
    assert is_dead(f"{host}/{pid}/{boot}+{int(ticks) - 5}+{namespace}")
    assert is_dead(f"{host}/{pid}/another-boot+{ticks}+{namespace}"), "this machine was booted since"


def test_a_process_of_another_machine_or_container_can_not_be_known() -> None:
    host, pid, start = this_process().split("/")
    boot, ticks, namespace = start.split("+")
    for owner in (
        f"other/{pid}/another-boot+{ticks}+{namespace}",
        f"other/{pid}/{boot}+{ticks}",
        f"{host}/{pid}/{boot}+{ticks}+{int(namespace) + 1}",
        f"other/{pid}/1700000000",
    ):
        assert liveness(owner) is Liveness.UNKNOWN, owner


def test_a_part_of_a_mark_is_no_mark() -> None:
    mark = this_process()
    for cut in range(len(mark)):
        assert liveness(mark[:cut]) is not Liveness.ALIVE or mark[:cut] == mark.rpartition("+")[0]


@given(st.one_of(st.text(), st.builds("{}/{}/{}".format, st.just(socket.gethostname()), st.text(), st.text())))
def test_nothing_that_is_no_mark_is_taken_for_a_living_process(text: str) -> None:
    assert liveness(text) is not Liveness.ALIVE


def test_a_process_in_another_container_is_asked_by_the_lock_that_it_holds(tmp_path: Path) -> None:
    if not (tool := shutil.which("unshare")) or subprocess.run([tool, "--pid", "--fork", "true"]).returncode != 0:
        pytest.skip("a process namespace can't be made here")
    inside = [tool, "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        mark = other.stdout.readline().strip()
        assert mark.split("/")[1] == "1"
        assert liveness(mark) is Liveness.UNKNOWN
        assert liveness(mark, tmp_path) is Liveness.ALIVE
        other.kill()  # its child is killed by the kernel, a moment later
    deadline = time.monotonic() + 20
    while (answer := liveness(mark, tmp_path)) is Liveness.ALIVE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer is Liveness.DEAD
    assert list(tmp_path.iterdir()) == []


def test_a_living_process_of_another_machine_of_this_name_is_no_dead_one_of_ours(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        host, pid, start = other.stdout.readline().strip().split("/")
        [held] = tmp_path.iterdir()
        elsewhere = f"{host}/{pid}/another-boot+{start.partition('+')[2]}"
        # As that machine, whose boot is another one, would hold it.
        held.rename(tmp_path / f"{hashlib.sha256(elsewhere.encode()).hexdigest()[:24]}.lock")
        assert liveness(elsewhere, tmp_path) is Liveness.ALIVE
        other.kill()
    assert liveness(elsewhere, tmp_path) is Liveness.DEAD


def test_the_processes_of_another_machines_note_are_left_alone(tmp_path: Path) -> None:
    note = tmp_path / "supervised.json"
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as stranger, subprocess.Popen(SLEEPER) as ours:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        _, _, start = mark_of(stranger.pid).split("/")
        boot, ticks, namespace = start.split("+")
        marks = [
            f"another/{stranger.pid}/{boot}+{ticks}",
            f"another/{stranger.pid}/other-boot+{ticks}+{namespace}",
            f"{socket.gethostname()}/{stranger.pid}/{boot}+{ticks}+1",
            f"{socket.gethostname()}/{stranger.pid}/{boot}+1+{namespace}",
        ]
        write_json(note, {"processes": [*marks, mark_of(ours.pid)]})
        Supervisor(note)
        assert stranger.poll() is None
        assert ours.wait(20) != 0
        assert not note.exists()
        stranger.kill()


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"processes": ["x/1/2"]}', "\0\0"])
def test_a_note_that_can_not_be_trusted_ends_nothing(tmp_path: Path, content: str) -> None:
    note = tmp_path / "supervised.json"
    note.write_text(content)
    Supervisor(note)
    assert not note.exists()
    assert liveness(mark_of(os.getpid())) is Liveness.ALIVE
