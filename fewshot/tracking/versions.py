"""Model versions as MLflow's registry holds them: found by name, read with the names of this release."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fewshot.errors import RegistryError
from fewshot.migrations import format_of, migrate_numbers, migrate_settings
from fewshot.system.files import canonical_json
from fewshot.tracking.client import error_code
from fewshot.tracking.store import Store

IDENTITY = "fewshot.identity"
"""Tag of a version: digest of its weights and results. There is one version for each."""
SETTINGS = "fewshot.settings"
"""Tag of a version: all settings as JSON."""
ENCODER = "fewshot.encoder"
"""Tag of a version: the record of its frozen encoder as JSON: name, digest, licence."""
VERDICT, DECISION = "fewshot.verdict", "fewshot.decision"
"""Tags of a version: its promotion record as JSON; promoted, kept or first."""
ROLLED_BACK = "fewshot.rolled_back"
"""Tag of a version: when it was rolled back."""
RESTORED = "fewshot.restored"
"""Tag of a version: when it was made the champion again by hand, after it was rolled back."""
CLEANED = "fewshot.cleaned"
"""Tag of a version: when its files were removed, because nothing led to it; see `fewshot.tracking.unused`."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases of versions; see `fewshot.tracking.aliases`."""

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
"""As DVC writes it; it is part of a path in its cache."""
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Version:
    """A model version as the registry holds it."""

    model: str
    number: str
    run_id: str
    tags: dict[str, str]
    """As they are stored; `settings` and `promotion_record` read those that may be of an earlier format."""
    aliases: tuple[str, ...]
    created: datetime = _LONG_AGO

    @property
    def uri(self) -> str:
        """Its address in MLflow: "models:/NAME/NUMBER"."""
        return f"models:/{self.model}/{self.number}"

    @property
    def format(self) -> int:
        """The format of its tags; DamagedFileError for one of a later release."""
        return format_of(self.tags, self.uri)

    @property
    def is_rolled_back(self) -> bool:
        """True if it was rolled back and not made the champion by hand since."""
        return self.tags.get(ROLLED_BACK, "") > self.tags.get(RESTORED, "")

    def tag(self, name: str) -> str:
        """A tag that every version is registered with; RegistryError without it."""
        if name not in self.tags:
            raise RegistryError(
                f"{self.uri} has no tag {name}: an older fewshot registered it, or the tag was deleted; restore it, or "
                "register again"
            )
        return self.tags[name]

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, with the names of this release. KeyError if it has no SETTINGS tag."""
        format_of(self.tags, self.uri)
        return migrate_settings(self._json_of(SETTINGS))

    def promotion_record(self) -> dict[str, Any] | None:
        """The values of its `fewshot.promotion.record.PromotionRecord`; None if it was not compared yet."""
        if VERDICT not in self.tags:
            return None
        format_of(self.tags, self.uri)
        return dict(migrate_numbers(self._json_of(VERDICT)))

    def data_md5(self) -> dict[str, str]:
        """What DVC held of the training data: path -> md5; empty if it is not known."""
        tag = "fewshot.data_md5"
        found = self._json_of(tag) if tag in self.tags else {}
        if not all(_MD5.fullmatch(str(md5)) for md5 in found.values()):
            raise _no_longer_ours(tag, self.uri)
        return {path: str(md5) for path, md5 in found.items()}

    def _json_of(self, tag: str) -> dict[str, Any]:
        """The content of a tag that holds a JSON object; RegistryError if it is none. Anybody may write a tag."""
        try:
            found = json.loads(self.tags[tag])
            if isinstance(found, dict):
                return found
        except (ValueError, RecursionError):
            pass
        raise _no_longer_ours(tag, self.uri)

    def links(self) -> list[tuple[str, str]]:
        """Its origin, back to data and code: names and texts, the newest link first."""
        tags = {name.removeprefix("fewshot."): value for name, value in self.tags.items()}
        dirty = " (with changes that were not committed)" if tags.get("git_dirty") == "true" else ""
        named = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return [
            ("version", f"{self.model}/{self.number}{named}"),
            ("MLflow run", self.run_id),
            ("flow run", tags.get("flow_run", "unknown")),
            *([("files", f"removed {self.tags[CLEANED]}, as nothing led to them")] if CLEANED in self.tags else []),
            ("weights", f"sha256 {tags.get('weights_sha256', 'unknown')}"),
            ("settings", canonical_json(self.settings()) if SETTINGS in self.tags else "unknown"),
            *([("encoder", self.tags[ENCODER])] if ENCODER in self.tags else []),
            ("data", tags.get("data_digest", "unknown")),
            *(("", f"{path} md5 {md5}") for path, md5 in self.data_md5().items()),
            ("git commit", f"{tags.get('git_commit', 'unknown')}{dirty}"),
            ("code", tags.get("code_key", "unknown")),
            ("lock", tags.get("lock_key", "unknown")),
            ("machine", tags.get("machine", "unknown")),
        ]


def removed(version: Version) -> str:
    """The sentence on a version whose files were removed."""
    return (
        f"the files of {version.uri} were removed {version.tags[CLEANED][:10]} by fewshot clean, as nothing led to "
        "them; a run of its settings, data and code makes them again"
    )


def find_version(store: Store, reference: str) -> Version:
    """The version behind "models:/NAME@ALIAS", "NAME@ALIAS", "NAME/NUMBER" or "NAME" (its champion).

    Raises RegistryError if there is none.
    """
    name = reference.removeprefix("models:/")
    if "/" in name:
        model, number = name.split("/", 1)
        if not _NUMBER.fullmatch(number):
            raise RegistryError(f"{reference!r} names no version; write NAME/NUMBER, as in glyphs-protonet/3")
    else:
        model, _, alias = name.partition("@")
        if not model:
            raise RegistryError(f"{reference!r} names no model; write NAME, NAME@ALIAS or NAME/NUMBER")
        alias = alias or CHAMPION
        number = store.version_with(model, alias)
        if not number:
            raise RegistryError(
                f"{model} has no {alias}: there is no such model or alias, or its version was deleted; "
                f"fewshot history {model} shows what there is, fewshot retrain makes a champion"
            )
    try:
        found = store.client.get_model_version(model, number)
    except RegistryError as error:
        if error_code(error) != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(
            f"there is no version {number} of a model {model}; fewshot history {model} shows which there are"
        ) from None
    return _read(found, store.client.get_registered_model(found.name).aliases)


def list_versions(store: Store, model: str | None = None) -> list[Version]:
    """All versions of a model, or of all models by their names, oldest first; empty if there are none."""
    if model is not None and re.search(r"['\"/:]", model):  # nothing is called so, and it would end the filter
        return []
    found = store.client.search_model_versions(f"name = '{model}'" if model else None)
    ordered = sorted(found, key=lambda one: (one.name, int(one.version)))
    named = {name: store.client.get_registered_model(name).aliases for name in {one.name for one in ordered}}
    return [_read(one, named[one.name]) for one in ordered]


def _read(found: Any, aliases: dict[str, Any]) -> Version:
    number = str(found.version)
    of_version = tuple(sorted(alias for alias, of in aliases.items() if str(of) == number))
    # A version that somebody made by hand belongs to no run.
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return Version(found.name, number, found.run_id or "", dict(found.tags), of_version, created)


def _no_longer_ours(tag: str, uri: str) -> RegistryError:
    return RegistryError(f"the tag {tag} of {uri} is not what was written there; restore it, or register again")
