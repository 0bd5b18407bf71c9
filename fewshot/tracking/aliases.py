"""The aliases of a model's versions: the only place that moves them, under one lock for each model.

    event                  champion        previous                 challenger
    a version is added     it, if none is  stays                    it, if there is a champion
    it is promoted         it              the champion before      none, if it was this one
    rollback               the previous    the champion before it   stays
    restored by hand       it              the champion before it   none, if it was this one
    a version is deleted   the previous    the champion before it   MLflow drops it

The alias "champion" is the truth. The order in which versions were champions is kept in a tag of the model, so that
"previous" is always the newest of the earlier ones that is there and was not rolled back. Each change moves the alias
first; whatever was interrupted after that is put right by the next one that comes.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from fewshot.errors import RegistryError
from fewshot.system.files import canonical_json
from fewshot.tracking.store import Store
from fewshot.tracking.versions import (
    CHALLENGER,
    CHAMPION,
    CLEANED,
    PREVIOUS,
    RESTORED,
    ROLLED_BACK,
    Version,
    list_versions,
    removed,
)

CHAMPIONS = "fewshot.champions"
"""Tag of a model: JSON list of the versions that were champion, in the order in which they became it."""
_REMEMBERED = 500
"""Champions on that list."""


class Standing(NamedTuple):
    """The champions of a model that are there, the present one last."""

    champions: tuple[str, ...]

    @property
    def champion(self) -> str:
        """The present champion; empty if there is none."""
        return self.champions[-1] if self.champions else ""

    @property
    def previous(self) -> str:
        """The version that a rollback gives the alias to; empty if there is none."""
        return self.champions[-2] if len(self.champions) > 1 else ""


def settled(champions: Sequence[str], champion: str, there: Collection[str], rolled_back: Collection[str]) -> Standing:
    """The standing, from the remembered champions, the version that bears the alias ("": none), and what is there."""
    left = [version for version in champions if version in there]
    if champion in left:
        left = left[: left.index(champion) + 1]
    elif champion:
        left.append(champion)
    earlier = [version for version in left[:-1] if version not in rolled_back]
    last = left[-1:] if champion else [version for version in left[-1:] if version not in rolled_back]
    return Standing((*earlier, *last))


class Aliases:
    """The aliases of one model, while their lock is held. Made by `aliases_of`."""

    def __init__(self, store: Store, model: str) -> None:
        self._store, self._model = store, model
        self.standing = Standing(())
        self._settle()

    def add(self, version: str) -> None:
        """A new version: the champion if there is none, else the challenger."""
        if self.standing.champion:
            self._store.set_alias(self._model, CHALLENGER, version)
        else:
            self._store.set_alias(self._model, CHAMPION, version)
            self._settle()

    def promote(self, version: str) -> None:
        """Make the version the champion, if it is not."""
        if version != self.standing.champion:
            self._store.set_alias(self._model, CHAMPION, version)
            self._settle()

    def rollback(self) -> tuple[str, str]:
        """Go back to the champion before; returns (version rolled back, champion now). RegistryError without one."""
        taken, champion = self.standing.champion, self.standing.previous
        if not champion:
            raise RegistryError(
                f"{self._model} has no version to go back to; fewshot history {self._model} shows what there is"
            )
        # Marked first: a version that is marked is not promoted again, wherever this is interrupted.
        self._store.tag_version(self._model, taken, {ROLLED_BACK: _now()})
        self._store.set_alias(self._model, CHAMPION, champion)
        self._settle()
        return taken, champion

    def restore(self, version: str) -> tuple[str, str]:
        """Make any version the champion by hand; returns (champion before or "", champion now).

        A step back marks all that it leaves as rolled back; a version that was rolled back counts as restored.
        RegistryError if there is no such version, or it is the champion.
        """
        before, champions = self.standing.champion, self.standing.champions
        there = {found.number: found for found in list_versions(self._store, self._model)}
        if version not in there or version == before:
            what = "is the champion" if version in there else "is not there"
            raise RegistryError(
                f"version {version} of {self._model} {what}; fewshot history {self._model} shows which are"
            )
        if CLEANED in there[version].tags:
            raise RegistryError(f"{removed(there[version])}; choose another version")
        if there[version].is_rolled_back:
            self._store.tag_version(self._model, version, {RESTORED: _now()})
        for left in champions[champions.index(version) + 1 :] if version in champions else ():
            self._store.tag_version(self._model, left, {ROLLED_BACK: _now()})
        self._store.set_alias(self._model, CHAMPION, version)
        self._settle()
        return before, version

    def _settle(self) -> None:
        """Read how things stand, and move what an interrupted change, or a deleted version, left in the wrong place."""
        store, model = self._store, self._model
        versions = list_versions(store, model)
        if not versions:
            return
        held, stored = _held(versions), store.model_tags(model).get(CHAMPIONS, "")
        champion = held.get(CHAMPION, "")
        self.standing = _standing(versions, stored)
        if self.standing.champion != champion:
            store.set_alias(model, CHAMPION, self.standing.champion)
        if self.standing.previous and held.get(PREVIOUS) != self.standing.previous:
            store.set_alias(model, PREVIOUS, self.standing.previous)
        if not self.standing.previous and store.version_with(model, PREVIOUS):
            store.delete_alias(model, PREVIOUS)
        if held.get(CHALLENGER) == self.standing.champion and self.standing.champion:
            store.delete_alias(model, CHALLENGER)
        if (text := canonical_json(self.standing.champions[-_REMEMBERED:])) != stored:
            store.tag_model(model, CHAMPIONS, text)


@contextmanager
def aliases_of(store: Store, model: str) -> Iterator[Aliases]:
    """The aliases of a model; no other process moves them during the block."""
    with store.lock(f"aliases-{model}"):
        yield Aliases(store, model)


def standing_of(store: Store, model: str) -> Standing:
    """The champions of a model as they stand; nothing is moved."""
    versions = list_versions(store, model)
    return _standing(versions, store.model_tags(model).get(CHAMPIONS, "")) if versions else Standing(())


def _standing(found: list[Version], stored: str) -> Standing:
    versions, held = {version.number: version for version in found}, _held(found)
    rolled_back = {number for number, version in versions.items() if version.is_rolled_back}
    remembered = _remembered(stored, versions, held)
    return settled(remembered, held.get(CHAMPION, ""), versions.keys(), rolled_back)


def _held(versions: list[Version]) -> dict[str, str]:
    return {alias: version.number for version in versions for alias in version.aliases}


def _remembered(stored: str, versions: dict[str, Version], held: dict[str, str]) -> list[str]:
    """The champions of the stored list; of an earlier release, those that records and aliases tell of."""
    try:
        found = json.loads(stored)
        if isinstance(found, list):
            return [str(version) for version in found]
    except ValueError:
        pass
    chain: list[str] = []
    version = held.get(CHAMPION) or held.get(PREVIOUS, "")
    while version in versions and version not in chain:
        chain.append(version)
        record = versions[version].promotion_record() or {}
        version = str(record.get("against", "")) if record.get("decision") == "promoted" else ""
    previous = held.get(PREVIOUS, "")
    return [*([previous] if previous not in ("", *chain) else []), *reversed(chain)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
