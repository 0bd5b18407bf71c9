"""Files of versions that nothing leads to any more. They can be removed; the version stays, with its whole record.

The files of a version are kept while it bears an alias, is the newest of its model, or was the champion and can be
gone back to. What may go are those of versions that the gate kept back, or that were rolled back: their record says
how to make them again. Only files on this machine are looked at; those on a server are that server's.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fewshot.tracking.aliases import standing_of
from fewshot.tracking.database import query
from fewshot.tracking.store import Store
from fewshot.tracking.versions import CLEANED, DECISION, ROLLED_BACK, Version, list_versions

_OF_A_RUN = ("confusion", "evaluation", "report", "training_curve.png")
"""Files of a run that go with those of its version. Its numbers, its history and the verdict stay."""


@dataclass(frozen=True)
class Unused:
    """The files of one version that can go."""

    version: Version
    files: tuple[Path, ...]
    """Files and folders that are there."""


def unused_versions(store: Store, before: datetime, in_use: Collection[tuple[str, str]] = ()) -> list[Unused]:
    """The versions whose files can go: made, and if so rolled back, before a time.

    `in_use`: (model, version) of those that a run found or made of late.
    """
    versions = list_versions(store)
    models = {version.model for version in versions}
    found = [
        one
        for model in sorted(models)
        for one in _of_model(store, model, versions)
        if _since(one) < before and (one.model, one.number) not in in_use
    ]
    staying = [one for one in versions if one not in found]
    runs = {one.run_id for one in staying}
    # A version that was copied to another name, as MLflow's page promotes one, has the files of the first.
    shared = {store.files_of(one.model, one.number) for one in staying}
    unused = [
        Unused(one, tuple(_files(store, one, one.run_id not in runs)))
        for one in found
        if store.files_of(one.model, one.number) not in shared
    ]
    return [one for one in unused if one.files]


@contextmanager
def aliases_stand(store: Store) -> Iterator[None]:
    """During the block no alias of any model moves, so that what is not in use stays so."""
    with ExitStack() as held:
        for model in sorted({version.model for version in list_versions(store)}):
            held.enter_context(store.lock(f"aliases-{model}"))
        yield


def remove_files(store: Store, found: Unused) -> None:
    """Remove the files of a version; what is interrupted here goes on the next time."""
    # Marked first: files that are missing by halves are explained.
    now = datetime.now(UTC).isoformat(timespec="seconds")
    store.tag_version(found.version.model, found.version.number, {CLEANED: now})
    for file in found.files:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def abandoned_models(store: Store, before: datetime) -> list[tuple[str, Path]]:
    """Models that were written for a version that was deleted since: run and folder of each."""
    made = (
        "SELECT tags.run_uuid, artifact_location FROM logged_models JOIN tags ON tags.run_uuid = source_run_id "
        "AND key = 'fewshot.model_uri' AND value = 'models:/' || model_id WHERE creation_timestamp_ms < ? AND value "
        "NOT IN (SELECT source FROM model_versions WHERE current_stage != 'Deleted_Internal' AND source IS NOT NULL)"
    )
    store.connect()
    rows = query(store.uri, made, str(int(before.timestamp() * 1000))) or []
    places = [(str(run), store.local_path(str(place))) for run, place in rows]
    copied = {store.files_of(one.model, one.number) for one in list_versions(store)} if places else set()
    return [(run, place) for run, place in places if place is not None and place.is_dir() and place not in copied]


def remove_model(store: Store, run: str, folder: Path) -> None:
    """Remove an abandoned model; its run forgets it, so that a version is given files of its own."""
    with store.lock("register"):
        store.client.delete_tag(run, "fewshot.model_uri")
        shutil.rmtree(folder)


def _of_model(store: Store, model: str, all_versions: list[Version]) -> list[Version]:
    versions = [version for version in all_versions if version.model == model]
    champions = standing_of(store, model).champions
    return [
        version
        for version in versions[:-1]
        if not version.aliases
        and version.number not in champions
        and (version.is_rolled_back or version.tags.get(DECISION) == "kept")
    ]


def _since(version: Version) -> datetime:
    """Since when nothing happened to a version."""
    rolled_back = version.tags.get(ROLLED_BACK)
    return max(version.created, datetime.fromisoformat(rolled_back)) if rolled_back else version.created


def _files(store: Store, version: Version, with_run: bool) -> Iterator[Path]:
    files = store.files_of(version.model, version.number)
    if files is not None and files.is_dir():
        yield files
    if with_run and version.run_id and (of_run := store.files_of_run(version.run_id)) is not None:
        yield from (of_run / name for name in _OF_A_RUN if (of_run / name).exists())
