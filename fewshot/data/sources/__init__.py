"""Sources of images: one module for each kind. A source of yours is a file like these; see docs/extend.md."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.errors import UsageError, unknown
from fewshot.settings.base import Immutable
from fewshot.settings.declarations import FILE, Declaration
from fewshot.system.modules import load_file

if TYPE_CHECKING:
    from fewshot.data.local_images import Collection

_FUNCTIONS = ("fetch", "read")


@dataclass(frozen=True)
class Source:
    """A source module with the options of one dataset.

    A module has `FILES` (names, or a function of what is given), `fetch(raw)`, which gets the raw files, whole and
    checked, and `read(raw)`, which yields every `Item`. One with options declares them as a class `Options`; its
    functions then take a `Given` as well. Three more functions are optional: `count`, the number of images, `find`, for
    images of the user's own outside the project, and `assigned`, for the split of each class as the source has it.
    """

    module: ModuleType
    given: Given | None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files that `fetch` leaves in the raw folder."""
        named = self.module.FILES
        return tuple(named(self.given) if callable(named) else named)

    @property
    def image_options(self) -> ImageOptions | None:
        """The form of the packed images; None: as they are read."""
        options = self.given.options if self.given else None
        return options if isinstance(options, ImageOptions) else None

    def fetch(self, raw: Path) -> None:
        """Get the raw files, whole and checked. Raises DataError."""
        self.module.fetch(raw, *self._given())

    def read(self, raw: Path) -> Iterator[Item]:
        """(class, group, source name, image) of every image in the raw folder. Raises DamagedFileError."""
        yield from self.module.read(raw, *self._given())

    def count(self, raw: Path) -> int:
        """The number of images that `read` yields, where the source knows it; else 0."""
        return int(self.module.count(raw, *self._given())) if hasattr(self.module, "count") else 0

    def find(self) -> "Collection | None":
        """The images outside the project that this dataset is made of; None if there are none. Raises DataError."""
        found = self.module.find(*self._given()) if hasattr(self.module, "find") else None
        return found  # type: ignore[no-any-return]

    def assigned(self, raw: Path) -> dict[str, str]:
        """Class -> split, as the raw files have it; UsageError for a source that has none."""
        if not hasattr(self.module, "assigned"):
            raise UsageError("split scheme column: only a table of images (labels.csv) has a column split")
        return dict(self.module.assigned(raw, *self._given()))

    def _given(self) -> tuple[Given, ...]:
        return (self.given,) if self.given else ()


def open_source(dataset: str, declaration: Declaration, project: Path) -> Source:
    """The source of a dataset with its options. UsageError for a file that is no source, and for wrong options."""
    module = _module(declaration.source, project)
    missing = [name for name in ("FILES", *_FUNCTIONS) if not hasattr(module, name)]
    if missing:
        raise UsageError(f"{declaration.source} is no source of images: it has no {' and no '.join(missing)}")
    kind: type[Immutable] | None = getattr(module, "Options", None)
    if kind is None:
        if declaration.options:
            raise UsageError(f"{FILE}: {dataset}.options: {declaration.source} takes none; take them out")
        return Source(module, None)
    path = project / Path(declaration.path).expanduser() if declaration.path else None
    return Source(module, Given(dataset, path, parse_options(dataset, kind, declaration.options)))


def _module(source: str, project: Path) -> ModuleType:
    """The module of a source: of this package by its name, so that other processes know it too, else by its file."""
    own = Path(source)
    if own.parent.as_posix() == "fewshot/data/sources":
        try:
            return import_module(f"fewshot.data.sources.{own.stem}")
        except ModuleNotFoundError:
            raise unknown("source in fewshot/data/sources", own.stem, _own_sources()) from None
    return load_file(project / source)


def _own_sources() -> list[str]:
    return [file.stem for file in Path(__file__).parent.glob("[a-z]*.py")]


def parse_options(dataset: str, kind: type[Immutable], values: Mapping[str, Any]) -> Immutable:
    """The options of a source. UsageError that names what is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([dataset, "options", *map(str, first["loc"])])
        raise UsageError(f"{FILE}: {name} = {first['input']!r}: {first['msg'].lower()}") from None
