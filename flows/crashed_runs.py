"""Flow runs whose process was killed: Prefect's server would show them as running for ever, and keep their slot.

While a flow runs, a file in the state folder names its process. It is deleted once Prefect has recorded how the run
ended, and stays if Prefect could not be reached. A file whose process is dead belongs to a crashed run. The next new
flow, or `fewshot up`, marks it as crashed.
"""

from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from fewshot.errors import DamagedFileError
from fewshot.project.paths import Home, find_home
from fewshot.system.files import read_json, write_json
from fewshot.system.process_id import is_dead, this_process


def _begin(flow: Any, flow_run: Any, state: State[Any]) -> None:
    home = find_home()
    write_json(_file(home, flow_run.id), {"owner": this_process(home.alive)})


def _end(flow: Any, flow_run: Any, state: State[Any]) -> None:
    _file(find_home(), flow_run.id).unlink(missing_ok=True)


NOTED: dict[str, Any] = {
    "on_running": [_begin],
    "on_completion": [_end],
    "on_failure": [_end],
    "on_cancellation": [_end],
    "on_crashed": [_end],
}
"""The hooks that keep the file of a flow's runs: `@flow(**NOTED)`. Prefect calls them once its server has the state."""


def mark_crashed_flow_runs(home: Home) -> list[str]:
    """Mark the runs of dead processes as crashed; returns their ids."""
    files = [file for file in sorted(_folder(home).glob("*.json")) if _is_id(file.stem)]
    dead = [file for file in files if _owner_is_dead(file, home)]
    if not dead:
        return []
    with get_client(sync_client=True) as client:
        for file in dead:
            try:
                if not client.read_flow_run(UUID(file.stem)).state.is_final():  # type: ignore[union-attr]
                    state: State[None] = Crashed(message="its process was killed, or Prefect could not be told its end")
                    client.set_flow_run_state(UUID(file.stem), state, force=True)
            except ObjectNotFound:
                pass  # of a database that was deleted since
            file.unlink(missing_ok=True)
    return [file.stem for file in dead]


def _file(home: Home, flow_run: UUID) -> Path:
    return _folder(home) / f"{flow_run}.json"


def _folder(home: Home) -> Path:
    return home.state / "flow-runs"


def _is_id(name: str) -> bool:
    """True for the id of a flow run; other files are not ours."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _owner_is_dead(file: Path, home: Home) -> bool:
    try:
        return is_dead(str(read_json(file, "delete it")["owner"]), home.alive)
    except FileNotFoundError:  # the run has just ended
        return False
    except DamagedFileError:
        return True
