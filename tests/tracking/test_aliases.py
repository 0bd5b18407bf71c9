"""The aliases of a model's versions: every sequence of events up to a length ends as the table says."""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from fewshot.errors import RegistryError
from fewshot.project.paths import Home
from fewshot.tracking.aliases import CHAMPIONS, aliases_of
from fewshot.tracking.store import Store
from fewshot.tracking.versions import Version, list_versions

EVENTS = ("register", "promote", "rollback", "restore", "delete champion", "delete previous")
MODEL = "m"


class Table:
    """The table of `fewshot.tracking.aliases`, row by row, on plain lists."""

    def __init__(self) -> None:
        self.made = 0
        self.there: list[str] = []
        self.champions: list[str] = []
        self.rolled_back: set[str] = set()
        self.challenger = ""

    @property
    def aliases(self) -> dict[str, str]:
        named = dict(zip(("champion", "previous"), reversed(self.champions), strict=False))
        return named | ({"challenger": self.challenger} if self.challenger else {})

    def candidate(self) -> str:
        """The newest version that may be promoted."""
        fit = [one for one in self.there if one not in self.rolled_back and one not in self.champions[-1:]]
        return fit[-1] if fit else ""

    def restorable(self) -> str:
        """The newest version that was rolled back."""
        fit = [one for one in self.there if one in self.rolled_back and one not in self.champions[-1:]]
        return fit[-1] if fit else ""

    def register(self) -> None:
        self.made += 1
        self.there.append(str(self.made))
        if self.champions:
            self.challenger = str(self.made)
        else:
            self.champions = [str(self.made)]

    def become(self, version: str) -> None:
        if version in self.champions:
            self.champions = self.champions[: self.champions.index(version) + 1]
        else:
            self.champions.append(version)
        self.challenger = "" if self.challenger == version else self.challenger

    def rollback(self) -> None:
        self.rolled_back.add(self.champions.pop())
        self.become(self.champions[-1])

    def delete(self, version: str) -> None:
        self.there.remove(version)
        self.champions = [one for one in self.champions if one != version]
        if self.champions:
            self.become(self.champions[-1])
        self.challenger = "" if self.challenger == version else self.challenger


class MemoryStore(Store):
    """What `aliases_of` asks of a store, in memory."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, str]] = {}
        self.named: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.client = SimpleNamespace(  # type: ignore[assignment,misc]
            search_model_versions=lambda _: [
                SimpleNamespace(name=MODEL, version=number, run_id="", tags=tags, creation_timestamp=0)
                for number, tags in self.versions.items()
            ],
            get_registered_model=lambda _: SimpleNamespace(aliases=self.named),
            delete_model_version=self.delete,
        )

    def lock(self, _: str) -> Any:
        return nullcontext()

    def make(self, number: str) -> None:
        self.versions[number] = {}

    def delete(self, _: str, number: str) -> None:
        del self.versions[number]
        self.named = {alias: of for alias, of in self.named.items() if of != number}

    def version_with(self, _: str, alias: str) -> str:
        return self.named.get(alias, "")

    def set_alias(self, _: str, alias: str, version: str) -> None:
        assert version in self.versions
        self.named[alias] = version

    def delete_alias(self, _: str, alias: str) -> None:
        del self.named[alias]

    def tag_version(self, _: str, version: str, tags: dict[str, str]) -> None:
        self.versions[version] |= tags

    def model_tags(self, _: str) -> dict[str, str]:
        return self.tags

    def tag_model(self, _: str, name: str, value: str) -> None:
        self.tags[name] = value


class RealStore(Store):
    """A store of MLflow that makes versions of nothing."""

    def make(self, number: str) -> None:
        if number == "1":
            self.client.create_registered_model(MODEL)
        self.client.create_model_version(MODEL, "file:///nothing")


def follow(store: Any, events: Iterator[str] | tuple[str, ...]) -> None:
    """Let both follow the events; after each one, the next command finds the aliases where the table has them."""
    table = Table()
    for event in events:
        if event == "register":
            table.register()
            store.make(str(table.made))
            with aliases_of(store, MODEL) as aliases:
                aliases.add(str(table.made))
        elif not table.made:
            continue
        elif event == "promote" and (version := table.candidate()):
            table.become(version)
            with aliases_of(store, MODEL) as aliases:
                aliases.promote(version)
        elif event == "rollback":
            with aliases_of(store, MODEL) as aliases:
                if len(table.champions) < 2:
                    with pytest.raises(RegistryError, match="no version to go back to"):
                        aliases.rollback()
                else:
                    table.rollback()
                    aliases.rollback()
        elif event == "restore" and (version := table.restorable()):
            table.rolled_back.remove(version)
            table.become(version)
            with aliases_of(store, MODEL) as aliases:
                aliases.restore(version)
        elif event.startswith("delete") and (version := table.aliases.get(event.split()[1], "")):
            table.delete(version)
            store.client.delete_model_version(MODEL, version)
            with aliases_of(store, MODEL):
                pass
        found = {alias: one.number for one in list_versions(store, MODEL) for alias in one.aliases}
        assert found == table.aliases, (events, event)


def test_every_sequence_of_five_events_ends_as_the_table_says() -> None:
    for events in product(EVENTS, repeat=5):
        follow(MemoryStore(), ("register", *events))


@pytest.mark.parametrize("seed", range(6))
def test_a_real_registry_follows_as_well(seed: int, home: Home) -> None:
    store = RealStore(home.tracking_uri, home.mlflow, home.locks)
    follow(store, tuple(random.Random(seed).choices(("register", *EVENTS), k=9)))
    if store.client.search_registered_models(filter_string=f"name = '{MODEL}'"):
        store.client.delete_registered_model(MODEL)


def test_the_order_of_champions_of_an_earlier_release_is_read_from_its_records() -> None:
    store = MemoryStore()
    for number, against in (("1", ""), ("2", "1"), ("3", "2")):
        store.make(number)
        decision = "promoted" if against else "first"
        store.versions[number]["fewshot.verdict"] = f'{{"decision": "{decision}", "against": "{against}"}}'
    store.named = {"champion": "3", "previous": "1"}  # as a night without news left it
    with aliases_of(store, MODEL) as aliases:  # type: ignore[arg-type]
        assert aliases.standing.champions == ("1", "2", "3")
        assert store.named == {"champion": "3", "previous": "2"}
    store.tags[CHAMPIONS] = "no list"
    with aliases_of(store, MODEL) as aliases:  # type: ignore[arg-type]
        assert aliases.standing.champions == ("1", "2", "3")


def test_an_alias_that_was_moved_by_hand_is_the_truth() -> None:
    store = MemoryStore()
    for number in ("1", "2", "3"):
        store.make(number)
        with aliases_of(store, MODEL) as aliases:  # type: ignore[arg-type]
            aliases.add(number)
            aliases.promote(number)
    store.set_alias(MODEL, "champion", "1")
    with aliases_of(store, MODEL) as aliases:  # type: ignore[arg-type]
        assert aliases.standing.champions == ("1",)
        assert store.named == {"champion": "1"}


@pytest.mark.parametrize("text", ["no json", "[1]", "7", "[" * 100_000])
def test_a_tag_that_somebody_else_wrote_is_said(text: str) -> None:
    tags = {"fewshot.settings": text, "fewshot.verdict": text, "fewshot.data_md5": text}
    version = Version(MODEL, "1", "", tags, ())
    for read in (version.settings, version.promotion_record, version.data_md5, version.links):
        with pytest.raises(RegistryError, match=r"the tag fewshot\.\w+ of models:/m/1 is not what was written there"):
            read()
