"""Flow runs whose process was killed: Prefect's server would show them as running for ever, and keep their slot.

While a flow runs, a file in the state folder names its process. A file whose process is dead belongs to a crashed run,
which whoever looks next, a new flow or `fewshot up`, marks as such.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from fewshot.errors import DamagedFileError
from fewshot.files import read_json, write_json
from fewshot.home import Home
from fewshot.owner import is_dead, this_process


@contextmanager
def alive(home: Home) -> Iterator[None]:
    """Name the process of the present flow run while the block runs."""
    file = _folder(home) / f"{flow_run.id}.json"
    write_json(file, {"owner": this_process()})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def sweep(home: Home) -> list[str]:
    """Mark the runs of dead processes as crashed; returns their ids."""
    dead = [file for file in sorted(_folder(home).glob("*.json")) if _belongs_to_the_dead(file)]
    if not dead:
        return []
    with get_client(sync_client=True) as client:
        for file in dead:
            try:
                if not client.read_flow_run(UUID(file.stem)).state.is_final():  # type: ignore[union-attr]
                    state: State[None] = Crashed(message="its process was killed")
                    client.set_flow_run_state(UUID(file.stem), state, force=True)
            except ObjectNotFound:
                pass  # of a database that was deleted since
            file.unlink(missing_ok=True)
    return [file.stem for file in dead]


def _folder(home: Home) -> Path:
    return home.state / "flow-runs"


def _belongs_to_the_dead(file: Path) -> bool:
    try:
        return is_dead(str(read_json(file, "delete it")["owner"]))
    except FileNotFoundError:  # the run has just ended
        return False
    except DamagedFileError:
        return True
