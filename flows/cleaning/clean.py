"""`fewshot clean`: what is there, by kind, and what of it nothing needs any more.

Nothing younger than a day is removed, so that work under way loses nothing, but for the checkpoints of trainings that
are finished. What stays: all versions, runs and numbers in MLflow's database; the files of each version that bears an
alias, can be gone back to or was not judged, with the data that it was trained on; what the last run of a preset, or
any run of late, found or made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from filelock import FileLock

from fewshot.project.paths import Home
from fewshot.system.files import size_of
from fewshot.tracking.store import Store
from fewshot.tracking.unused import abandoned_models, aliases_stand, remove_files, remove_model, unused_versions
from fewshot.tracking.versions import CLEANED, list_versions
from flows import steps
from flows.cleaning import prefect_history, state_folder
from flows.dvc.cache import unneeded_objects

DATABASE, HISTORY = "MLflow's database", "Prefect's history"
_MANY = 30
"""Retrainings beside which the size of an empty database counts little."""
KEEP_DAYS = 30
"""Days that unneeded things are kept, if nobody says otherwise."""


@dataclass(frozen=True)
class Removal:
    """One thing that can go."""

    kind: str
    paths: tuple[Path, ...]
    remove: Callable[[], object]


@dataclass(frozen=True)
class Cleaned:
    """One kind of place: bytes that were there, things and bytes that were removed, or would be."""

    kind: str
    there: int
    number: int
    removed: int
    retrainings: int
    """Retrainings that the bytes there are of; 0 where they grow with something else."""

    @property
    def each(self) -> float:
        """Bytes of one retraining; 0 where it can't be told, as of databases, which are large when they are empty."""
        least = _MANY if self.kind in (DATABASE, HISTORY) else 1
        return self.there / self.retrainings if self.retrainings >= least else 0.0


def clean(home: Home, keep_days: int, dry_run: bool = False) -> list[Cleaned]:
    """Remove what was not needed for `keep_days`; with `dry_run`, only say what that would be.

    Raises RegistryError if the registry can't be asked what is needed: then nothing is removed.
    """
    before = datetime.now(UTC) - timedelta(days=max(1, keep_days))
    with FileLock(home.file_lock("clean")):
        there = state_folder.sizes(home)
        number, removed = dict.fromkeys(there, 0), dict.fromkeys(there, 0)
        store = Store.open(home)
        with aliases_stand(store):
            retrainings = state_folder.retrainings(home)
            retrainings |= {
                DATABASE: len(list_versions(store)),
                HISTORY: prefect_history.count(home, datetime.now(UTC)),
            }
            for found in _removals(home, store, before):
                size = sum(map(size_of, found.paths))
                try:
                    if not dry_run:
                        found.remove()
                except OSError as error:
                    steps.remark(f"{found.paths[0]} can't be removed ({error.strerror}); change its owner or mode")
                    continue
                number[found.kind] += 1
                removed[found.kind] += size
        number[HISTORY] = prefect_history.remove(home, before, dry_run)
        removed[HISTORY] = max(0, there[HISTORY] - state_folder.sizes(home)[HISTORY])
    return [Cleaned(kind, there[kind], number[kind], removed[kind], retrainings.get(kind, 0)) for kind in there]


def _removals(home: Home, store: Store, before: datetime) -> Iterator[Removal]:
    unused, versions = unused_versions(store, before, state_folder.versions_in_use(home, before)), list_versions(store)
    uris = {one.version.uri for one in unused}
    going = [one for one in versions if one.uri in uris or CLEANED in one.tags]
    left = [one for one in versions if one not in going]
    data, needed = ([one.data_md5() for one in of] for of in (going, left))  # a wrong tag is said before anything goes
    for one in unused:
        yield Removal("files of versions", one.files, partial(remove_files, store, one))
        card = home.state / "reports" / f"{one.version.model}-{one.version.number}.html"
        if card.is_file():
            yield Removal("reports", (card,), card.unlink)
    for run, folder in abandoned_models(store, before):
        yield Removal("files of versions", (folder,), partial(remove_model, store, run, folder))
    weights, registered = ({one.tags.get("fewshot.weights_sha256", "") for one in of} for of in (left, versions))
    for kind, path in state_folder.unneeded(home, before, weights, registered):
        yield Removal(kind, (path,), partial(state_folder.delete, path))
    for path in unneeded_objects(home, data, needed, before):
        yield Removal("DVC's cache", (path,), path.unlink)


def in_words(found: Sequence[Cleaned]) -> str:
    """One line: what was removed, and what is there now."""
    removed, there = sum(one.removed for one in found), sum(one.there for one in found)
    return f"cleaned: {removed / 1e6:.1f} MB removed, {(there - removed) / 1e6:.1f} MB are left"
