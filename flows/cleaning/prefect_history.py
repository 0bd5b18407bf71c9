"""Old flow runs in this project's own Prefect database: removed by Prefect's own service, run once.

`python -m flows.cleaning.prefect_history` is that run, as a process whose settings say how old a run must be.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from fewshot.errors import PipelineError
from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment

_PAGES_FREE = 0.25
"""Share of a database's pages that must be free before it is written anew without them."""
_OLD = (
    "SELECT count(*) FROM flow_run WHERE parent_task_run_id IS NULL AND end_time < ? "
    "AND state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
)


def remove(home: Home, before: datetime, dry_run: bool) -> int:
    """Remove flow runs that ended before a time, with all that belongs to them; returns how many.

    A server's database that is not in the state folder is that server's. PipelineError if Prefect fails.
    """
    database, found = home.prefect / "prefect.db", count(home, before)
    if found and not dry_run:
        age_s = (datetime.now(UTC) - before).total_seconds()
        variables = {
            **os.environ,
            **environment(home),
            "PYTHONPATH": str(SOURCES),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"{age_s:.0f}",
        }
        done = subprocess.run([sys.executable, "-m", __name__], env=variables, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["?"])[-1]
            raise PipelineError(f"Prefect could not remove old flow runs from {database}: {said}")
        _shrink(database)
    return found


def count(home: Home, before: datetime) -> int:
    """The flow runs that ended before a time, without those that another one called."""
    database = home.prefect / "prefect.db"
    if not database.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as opened:
            moment = before.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            return int(opened.execute(_OLD, (moment,)).fetchone()[0])
    except sqlite3.Error:  # a new database without tables, or one that is damaged, as its server will say
        return 0


def _shrink(database: Path) -> None:
    """Give pages that became free back to the disk, unless a server has the database open just now."""
    try:
        with closing(sqlite3.connect(database, timeout=2, isolation_level=None)) as opened:
            [pages], [free] = (opened.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
            if free > _PAGES_FREE * pages:
                opened.execute("VACUUM")
    except sqlite3.OperationalError:
        pass


async def _vacuum() -> None:
    from prefect.server.database import provide_database_interface
    from prefect.server.services import db_vacuum

    db = provide_database_interface()
    await db_vacuum.vacuum_old_flow_runs(db=db)
    await db_vacuum.vacuum_orphaned_logs(db=db)
    await db_vacuum.vacuum_orphaned_artifacts(db=db)
    await db_vacuum.vacuum_stale_artifact_collections(db=db)
    await db_vacuum.vacuum_old_events(db=db)


if __name__ == "__main__":
    asyncio.run(_vacuum())
