"""Read the raw files of a dataset into a pack."""

from functools import partial
from pathlib import Path

from fewshot.data.decoding import Originals, decode_into
from fewshot.data.pack import write_pack
from fewshot.data.sources import Source
from fewshot.data.stages.disk import disk_errors
from fewshot.errors import DataError
from fewshot.system.files import write_json

ORIGINALS = "originals.json"
"""File of the modes and sizes of the images as they came, beside the pack."""


def pack(dataset: str, source: Source, data_dir: Path) -> None:
    """Read the raw files into data_dir/<dataset>/pack. Raises DamagedFileError for a file that can't be read."""
    raw, target = data_dir / dataset / "raw", data_dir / dataset / "pack"
    if not raw.is_dir():
        raise DataError(f"{raw} does not exist; run: fewshot data prepare {dataset}")
    originals = Originals()
    with disk_errors(target):
        decode = partial(decode_into, total=source.count(raw), options=source.image_options, originals=originals)
        write_pack(target, source.read(raw), decode)
        (target / ORIGINALS).unlink(missing_ok=True)
        if originals.modes:
            sizes = [[*size, number] for size, number in sorted(originals.sizes.items())]
            write_json(target / ORIGINALS, {"modes": dict(sorted(originals.modes.items())), "sizes": sizes})
