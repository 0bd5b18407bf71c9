"""A prepared dataset: its images, the classes of each split, its fixed episodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fewshot.data import in_memory
from fewshot.data.episode_sampler import ClassTable, EpisodeIndices, EpisodeSampler
from fewshot.data.episode_shapes import nearest_shape
from fewshot.data.fixed_episodes import fixed_shapes, read_fixed_episodes
from fewshot.data.pack import Original, Pack, open_pack, source_names, unrotated
from fewshot.data.sources import open_source
from fewshot.data.splits import SplitScheme, class_table, episodes_path, read_scheme, scheme_path
from fewshot.errors import DamagedFileError, DataError
from fewshot.settings.datasets import check_scheme, declaration_of
from fewshot.settings.declarations import SPLITS
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import sha256_json


@dataclass(frozen=True)
class Dataset:
    """An opened, checked pack with one of its split schemes."""

    name: str
    pack: Pack
    scheme: SplitScheme
    episodes: Path | None = None
    """File of the fixed episodes; None: they are sampled whenever they are asked for, always the same ones."""
    raw: Path | None = None
    """Folder of the raw files that were packed; None: the images in memory are the originals."""

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, name: str = "arrays", splits: in_memory.Splits = "hash"
    ) -> "Dataset":
        """A dataset of images in memory; see `fewshot.data.in_memory.from_arrays`."""
        return cls(*in_memory.from_arrays(images, labels, name, splits))

    @classmethod
    def from_torch(cls, dataset: Any, name: str = "torch", splits: in_memory.Splits = "hash") -> "Dataset":
        """A dataset of a torch dataset's items; see `fewshot.data.in_memory.from_torch`."""
        return cls(*in_memory.from_torch(dataset, name, splits))

    @classmethod
    def from_folder(
        cls, folder: str | Path, side: int = 84, channels: Literal[1, 3] = 3, splits: in_memory.Splits = "hash"
    ) -> "Dataset":
        """A dataset of the images below a folder; see `fewshot.data.in_memory.from_folder`."""
        return cls(*in_memory.from_folder(folder, side, channels, splits))

    def class_table(self, split: str) -> ClassTable:
        """The classes of a split ("train", "val", "gate", "test"), as a table to sample episodes from."""
        return class_table(self.pack.classes, self.class_names(split))

    def class_names(self, split: str) -> tuple[str, ...]:
        """The names of a split's classes, in the order of its table. DataError if the scheme has no such split."""
        if not self.scheme.splits.get(split):
            there = ", ".join(name for name in SPLITS if self.scheme.splits.get(name))
            raise DataError(f"split scheme {self.scheme.name} of {self.name} has no {split} classes; it has: {there}")
        return self.scheme.splits[split]

    def groups(self, split: str) -> tuple[str, ...]:
        """The group (alphabet, writing system) of each class of a split, in the order of its table."""
        group_of = {packed.name: packed.group for packed in self.pack.classes}
        return tuple(group_of[unrotated(name)] for name in self.class_names(split))

    def fixed_episodes(self, split: str, shape: EpisodeShape, number: int) -> EpisodeIndices:
        """The first `number` fixed episodes of a split; raises what `read_fixed_episodes` raises."""
        if self.episodes is None:
            purpose = f"fixed {self.scheme.name} {split} {shape}"
            return EpisodeSampler(self.class_table(split), shape, 0, purpose).sample(0, number)
        return read_fixed_episodes(self.episodes, self.scheme.episodes_digest, split, shape, number)

    def shape_for(self, split: str, wanted: EpisodeShape) -> EpisodeShape:
        """The shape of the fixed episodes by which a split measures the wanted task.

        The same task with another number of queries, if that is what there is; of a split with fewer classes than are
        wanted, that with most of them. Else the wanted one, which `fixed_episodes` will not find.
        """
        there = self.fixed_shapes(split)
        same = [shape for shape in there if shape.task == wanted.task]
        if wanted in there or not (same or len(self.class_names(split)) < wanted.way):
            return wanted
        return nearest_shape(wanted, same or there) or wanted

    def fixed_shapes(self, split: str) -> list[EpisodeShape]:
        """The shapes of the fixed episodes of a split, smaller ones first; raises what `fixed_episodes` raises.

        Of a dataset in memory: 5-way 1-shot and 5-shot, or of as many ways and queries as it has.
        """
        if self.episodes is None:
            table = self.class_table(split)
            left = int(table.count.min())
            shapes = [EpisodeShape(min(5, len(table)), shot, min(15, left - shot)) for shot in (1, 5)]
            return [shape for shape in shapes if shape.query > 0]
        return fixed_shapes(self.episodes, self.scheme.episodes_digest, split)

    @property
    def is_original(self) -> bool:
        """True if the packed images are the originals."""
        return self.raw is None

    def originals(self) -> Iterator[tuple[int, Original, str]]:
        """Row of the pack, original and name of each image, in the order in which the source has them.

        Raises DataError for raw files that are not there or can't be read.
        """
        if self.raw is None:
            yield from ((row, image, f"image {row}") for row, image in enumerate(self.pack.images))
            return
        if not self.raw.is_dir():
            raise DataError(f"{self.raw} does not exist; run: fewshot data prepare {self.name}")
        names = source_names(self.raw.parent / "pack")
        row_of = {
            (of.name, names[row]): row for of in self.pack.classes for row in range(of.start, of.start + of.count)
        }
        source = open_source(self.name, declaration_of(self.name), self.raw.parents[2])
        for class_name, _, name, original in source.read(self.raw):
            yield row_of[class_name, name], original, name

    @property
    def gate(self) -> str:
        """The split whose episodes decide on promotions: gate, or test where all classes are held out for tests."""
        return "gate" if self.scheme.splits.get("gate") or set(self.scheme.splits) != {"test"} else "test"

    @property
    def digest(self) -> str:
        """One digest of the images, the splits and the fixed episodes."""
        splits = {split: list(names) for split, names in self.scheme.splits.items()}
        return sha256_json([self.pack.digest, splits, self.scheme.episodes_digest])


def open_dataset(data_dir: str | Path, dataset: str, scheme: str = "") -> Dataset:
    """Open a prepared dataset with a split scheme (empty: its default) and check every file by its digest.

    Raises UsageError for an unknown name, DataError if it is not prepared, DamagedFileError if a file was changed.
    """
    scheme, data_dir = scheme or check_scheme(dataset), Path(data_dir)
    folder = data_dir / dataset
    pack_folder, scheme_file = folder / "pack", scheme_path(data_dir, dataset, scheme)
    if not scheme_file.exists():
        check_scheme(dataset, scheme)
    if not pack_folder.is_dir() or not scheme_file.exists():
        raise DataError(f"{folder} is not prepared; run: fewshot data prepare {dataset}")
    pack = open_pack(pack_folder)
    opened = read_scheme(scheme_file)
    if opened.pack_digest != pack.digest:
        raise DamagedFileError(f"{scheme_file} belongs to another {pack_folder}; run: fewshot data prepare {dataset}")
    return Dataset(dataset, pack, opened, episodes_path(data_dir, dataset, scheme), folder / "raw")
