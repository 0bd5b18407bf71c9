"""Read the raw files of a dataset into a pack."""

from pathlib import Path

from fewshot.data.pack import write_pack
from fewshot.data.sources import Source
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError


def pack(dataset: str, source: Source, data_dir: Path) -> None:
    """Read the raw files into data_dir/<dataset>/pack. Raises DamagedFileError for a file that can't be read."""
    raw, target = data_dir / dataset / "raw", data_dir / dataset / "pack"
    if not raw.is_dir():
        raise DataError(f"{raw} does not exist; run: fewshot data prepare {dataset}")
    with disk_errors(target):
        write_pack(target, source.read(raw))
