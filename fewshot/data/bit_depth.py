"""Images of more than 256 levels, as scanners, microscopes and X-rays give them, made into ones of 256.

Pillow reads their numbers and leaves open which of them is white; of 8 bits or fewer it does that itself.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of grey images with up to 65,536 levels."""
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
"""The tags of a TIFF file that say what its numbers mean."""
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def eight_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """The same picture with 256 levels; `tags` are those of its TIFF file, which Pillow's own changes lose.

    ValueError for pixels whose black and white are not known.
    """
    kinds = tags.get(_FORMAT, (_UNSIGNED,))
    if image.mode not in ("I", "F") and any(kind != _UNSIGNED for kind in np.atleast_1d(kinds)):
        raise ValueError("its pixels are signed, without a known black; save it with 8 or 16 bits, unsigned")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {image.mode}, 32 bits without a known white; save it with 8 or 16 bits")
    if image.mode not in _SIXTEEN_BITS:
        return image
    white = 2 ** int(np.atleast_1d(tags.get(_BITS, 16))[0]) - 1  # of 12 bits, too, in 16
    numbers = np.asarray(image.convert("I"), dtype=np.int64)
    levels = ((numbers * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    grey = Image.fromarray(levels)
    clear = image.info.get("transparency")  # the one level of a PNG that shows through
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(numbers == clear, 0, 255).astype(np.uint8)))
    return grey
