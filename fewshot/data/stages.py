"""The three stages that turn a dataset's name into files: download (of an own folder: collect) -> pack -> split.

DVC calls them one by one.
"""

import errno
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.data.fixed_episodes import write_fixed_episodes
from fewshot.data.pack import Pack, open_pack, write_pack
from fewshot.data.sources import SOURCES, Source, folder
from fewshot.data.sources.folder import FolderOptions
from fewshot.data.splits import SplitScheme, assign_classes, class_table, episodes_path, scheme_path, write_scheme
from fewshot.errors import DataError, unknown
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import SCHEMES


def download(dataset: str, data_dir: Path) -> None:
    """Fetch the raw files into data_dir/<dataset>/raw; whole ones that are there already are kept. Raises DataError."""
    source, raw = _source(dataset), data_dir / dataset / "raw"
    with _disk_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)
        for stranger in raw.iterdir():
            # Halves of files to come stay, so that a download goes on where an earlier one was cut.
            if stranger.name.removeprefix(".").removesuffix(".part") not in source.FILES:
                stranger.unlink()
        source.fetch(raw)


def collect(options: FolderOptions, data_dir: Path) -> None:
    """Copy the images of a user's own folder into data_dir/folder/raw. Raises what `folder.collect` raises."""
    raw = data_dir / "folder" / "raw"
    with _disk_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)
        folder.collect(options, raw)


def pack(dataset: str, data_dir: Path) -> None:
    """Read the raw files into data_dir/<dataset>/pack. Raises DamagedFileError for a file that can't be read."""
    source, raw, target = _source(dataset), data_dir / dataset / "raw", data_dir / dataset / "pack"
    if not raw.is_dir():
        raise DataError(f"{raw} does not exist; run: fewshot data prepare {dataset}")
    with _disk_errors(target):
        write_pack(target, source.read(raw))


def split(dataset: str, data_dir: Path, shapes: Mapping[str, Sequence[EpisodeShape]], number: int, seed: int) -> None:
    """Write every split scheme of a packed dataset with its fixed episodes into data_dir/<dataset>/split.

    `shapes` gives for each split the shapes of which `number` episodes are sampled. Raises DataError if a split has too
    few classes or images for a shape.
    """
    _source(dataset)
    packed, target = open_pack(data_dir / dataset / "pack"), data_dir / dataset / "split"
    with _disk_errors(target):
        if target.exists():
            shutil.rmtree(target)
        for name in SCHEMES[dataset]:
            _write_scheme(data_dir, dataset, name, packed, shapes, number, seed)


def _write_scheme(
    data_dir: Path,
    dataset: str,
    name: str,
    packed: Pack,
    shapes: Mapping[str, Sequence[EpisodeShape]],
    number: int,
    seed: int,
) -> None:
    splits = assign_classes(dataset, name, packed.classes)
    sets = {}
    for of_split, split_shapes in shapes.items():
        if of_split not in splits:
            there = ", ".join(splits)
            raise DataError(f"split scheme {name} of {dataset} has no {of_split} classes for episodes; it has: {there}")
        table = class_table(packed.classes, splits[of_split])
        for shape in split_shapes:
            # Another purpose would be other episodes: the word "frozen" stays.
            purpose = f"frozen {dataset} {name} {of_split} {shape}"
            sets[f"{of_split}/{shape}"] = EpisodeSampler(table, shape, seed, purpose).sample(0, number)
    digest = write_fixed_episodes(episodes_path(data_dir, dataset, name), sets)
    write_scheme(scheme_path(data_dir, dataset, name), SplitScheme(dataset, name, packed.digest, splits, digest))


def _source(dataset: str) -> Source:
    if dataset not in SOURCES:
        raise unknown("dataset", dataset, SOURCES)
    return SOURCES[dataset]


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"the disk is full, {folder} was not written; free some space and run it again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(f"can't write to {folder} ({error.strerror}); make it writable and run it again") from error
        raise DataError(f"{folder} was not written: {error}") from error
