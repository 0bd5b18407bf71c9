"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each (Lake, Salakhutdinov & Tenenbaum 2015).

The two archives come from the authors' repository, at the address that torchvision knows, or from FEWSHOT_MIRROR (a
folder or an http address). An archive with the official MD5 is taken as it is. Mirrors pack containers anew, so of any
other it is the content that is verified: every image file against `omniglot-files.json`.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from fewshot.data.archive import Archive, open_archive
from fewshot.data.given import Given
from fewshot.data.image_options import ImageOptions
from fewshot.data.pack import Item
from fewshot.errors import DamagedFileError
from fewshot.system.download import fetch_file

ARCHIVES = ("images_background", "images_evaluation")
FILES = tuple(f"{archive}.zip" for archive in ARCHIVES)
_DRAWN_SIDE = 105
_MEMBER_LIMIT = 64 * 1024
_TOTAL_LIMIT = 64 * 2**20


class Options(ImageOptions):
    """The form of the drawings: 28x28 pixels, grey, as all published results have it."""

    side: int = Field(28, ge=8, le=1024, description="pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: colour")


class Drawing(NamedTuple):
    """One drawing: its character ("Angelic/character01"), its path in the archive, 3 bytes of its file's SHA-256."""

    character: str
    path: str
    prefix: bytes


def fetch(raw: Path, given: Given) -> None:
    """Fetch the archives that are not there yet; only a complete and undamaged one gets its name."""
    from torchvision.datasets import Omniglot  # here, because it takes seconds

    for archive in ARCHIVES:
        address = f"{Omniglot.download_url_prefix}/{archive}.zip"
        fetch_file(address, raw / f"{archive}.zip", check=partial(verify, archive=archive))


def read(raw: Path, given: Given) -> Iterator[Item]:
    """Each drawing as it is, 105x105 pixels, ink bright. Raises DamagedFileError."""
    for archive in ARCHIVES:
        path = raw / f"{archive}.zip"
        with open_archive(path, _MEMBER_LIMIT, _TOTAL_LIMIT) as members:
            for drawing in drawings(archive):
                ink = _ink(members, path, drawing.path)
                image = (ink * np.uint8(255))[None]
                yield drawing.character, drawing.character.partition("/")[0], drawing.path, image


def count(raw: Path, given: Given) -> int:
    """The number of drawings."""
    return sum(len(drawings(archive)) for archive in ARCHIVES)


def verify(path: Path, archive: str) -> None:
    """Check that an archive holds every drawing, byte by byte. DamagedFileError names the first wrong one."""
    if md5_file(path) == official_md5(archive):
        return
    whole = hashlib.sha256()
    with open_archive(path, _MEMBER_LIMIT, _TOTAL_LIMIT) as members:
        for drawing in drawings(archive):
            found = hashlib.sha256(members.read(drawing.path))
            if not found.digest().startswith(drawing.prefix):
                raise DamagedFileError(f"{path}: {drawing.path} is not Omniglot's drawing; fetch the archive again")
            whole.update(f"{drawing.path} {found.hexdigest()}\n".encode())
    if whole.hexdigest() != digest_of(archive):
        # The short prefixes name the drawing; one that slips past them (1 in 16 million) is still found.
        raise DamagedFileError(f"{path}: a drawing is not Omniglot's, though its short digest fits; fetch it again")


def drawings(archive: str) -> list[Drawing]:
    """All drawings of one of the two archives, in the order of their paths."""
    found = []
    for character, (number, prefixes) in _table()["archives"][archive].items():
        digests = base64.b64decode(prefixes)
        for k in range(len(digests) // 3):
            path = f"{archive}/{character}/{number}_{k + 1:02}.png"
            found.append(Drawing(character, path, digests[3 * k : 3 * k + 3]))
    return found


def official_md5(archive: str) -> str:
    """MD5 of an archive as its authors published it, in hexadecimal, from torchvision."""
    from torchvision.datasets import Omniglot  # here, because it takes seconds

    return str(Omniglot.zips_md5[archive])


def md5_file(path: Path) -> str:
    """MD5 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def digest_of(archive: str) -> str:
    """SHA-256 of the lines "path sha256" of all drawings of an archive."""
    return str(_table()["digests"][archive])


def _table() -> dict[str, Any]:
    text = resources.files("fewshot.data").joinpath("sources", "omniglot-files.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _ink(members: Archive, path: Path, name: str) -> Bool[np.ndarray, "105 105"]:
    """The inked pixels of a drawing."""
    try:
        image = Image.open(io.BytesIO(members.read(name)), formats=["PNG"])
        if image.size != (_DRAWN_SIDE, _DRAWN_SIDE):
            raise ValueError(f"{image.size[0]}x{image.size[1]} pixels")
        return ~np.asarray(image.convert("1", dither=Image.Dither.NONE))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DamagedFileError(f"{path}: {name} is not a drawing of 105x105 pixels ({error}); fetch it again") from None
