"""scikit-learn's 1,797 real handwritten digits, 8x8 pixels: a tiny dataset for evaluation, there without a download."""

import gzip
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fewshot.data.pack import Item
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.files import write_bytes

FILES = ("digits.csv.gz",)
DIGITS = 1797


def fetch(raw: Path) -> None:
    """Copy the file that comes with scikit-learn."""
    # Found, not imported, because that takes seconds.
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("the digits come with scikit-learn, and it is not there; install scikit-learn")
    write_bytes(raw / FILES[0], (Path(found.origin).parent / "datasets" / "data" / FILES[0]).read_bytes())


def read(raw: Path) -> Iterator[Item]:
    """Each digit as a 28x28 image. Raises DamagedFileError."""
    path = raw / FILES[0]
    try:
        lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
        if not lines:
            raise ValueError("it is empty")
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DamagedFileError(f"{path} can't be read ({error}); delete it and fetch it again") from None
    if table.shape != (DIGITS, 65) or table.min() < 0 or table[:, :64].max() > 16:
        raise DamagedFileError(f"{path} does not hold {DIGITS} digits of 8x8 pixels; delete it and fetch it again")
    for row, values in enumerate(table):
        yield f"Digits/{values[64]}", "Digits", f"{FILES[0]}#{row:04}", _enlarged(values[:64].reshape(8, 8))


def _enlarged(image: np.ndarray) -> UInt8[np.ndarray, "1 28 28"]:
    """Ink from 0..16 to 0..255, enlarged threefold and smoothly, with a margin of two pixels."""
    ink = Image.fromarray((image * 255 // 16).astype(np.uint8)).resize((24, 24), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(ink), 2)[None]
