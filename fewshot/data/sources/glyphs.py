"""Hand-like drawings of the letters of fifteen writing systems, made from the free fonts that come with matplotlib.

The default dataset: Omniglot's task (28x28 drawings, 20 of each character) without a download. Every letter differs
from every other: of look-alikes, such as A in Latin, Greek and Cyrillic, only the first is drawn. Every image is a
function of its letter and number alone, in arithmetic that gives the same bytes on every processor.
"""

import io
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from jaxtyping import Bool, Float64, UInt8
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fewshot.data.pack import Item
from fewshot.errors import DamagedFileError, DataError
from fewshot.randomness import bits, key_of
from fewshot.system.files import write_bytes

_DEJAVU = [f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
_DEJAVU += [f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
_DEJAVU += [f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")]
_STIX = [f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")]
FACES = tuple(_DEJAVU + _STIX)
LICENSES = ("LICENSE_DEJAVU", "LICENSE_STIX")
FILES = (*(f"{face}.ttf" for face in FACES), *LICENSES)

SYSTEMS = {
    "Latin": "LATIN",
    "Greek": "GREEK",
    "Cyrillic": "CYRILLIC",
    "Coptic": "COPTIC",
    "Old_Italic": "OLD ITALIC",
    "Lisu": "LISU",
    "Canadian_Syllabics": "CANADIAN SYLLABICS",
    "Armenian": "ARMENIAN",
    "Tifinagh": "TIFINAGH",
    "Ogham": "OGHAM",
    "Georgian": "GEORGIAN",
    "Arabic": "ARABIC",
    "Hebrew": "HEBREW",
    "NKo": "NKO",
    "Lao": "LAO",
}
"""Writing systems, with what Unicode's names of their letters begin with. Of look-alikes the first in order is kept."""

DRAWINGS = 20
"""Images of each letter."""
SIDE = 28
"""Height and width of an image, pixels."""
LOOKALIKE = 0.035
"""Two letters look alike if in one face, at equal size, at most this share of either's ink is off the other's."""
_CANVAS = 64  # a power of two, see _displacement
_GLYPH = 44
_TYPE = 80  # size of the type before it is fitted, pixels
_NUMBERS = 64  # random numbers of each image
_GRID = 16  # steps of a displacement in one pixel


def fetch(raw: Path) -> None:
    """Copy the fonts and their licenses from matplotlib's folder."""
    # Found, not imported: matplotlib's import is slow and makes a folder in the user's home.
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise DataError("the glyphs are drawn from matplotlib's fonts, and it is not there; install matplotlib")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    for name in FILES:
        if not (folder / name).is_file():
            raise DataError(f"{folder} holds no {name}; install matplotlib again")
        write_bytes(raw / name, (folder / name).read_bytes())


def read(raw: Path) -> Iterator[Item]:
    """Draw every letter. Raises DamagedFileError for a font that can't be read."""
    faces = {face: _letters_of(raw, face) for face in FACES}
    letters = [letter for system in SYSTEMS.values() for letter in _letters(system, faces)]
    for letter in distinct(letters, faces):
        system, name = class_of(letter)
        for number, (face, image) in enumerate(_drawings(letter, faces)):
            yield f"{system}/{name}", system, f"U+{ord(letter):04X}-{number:02}-{face}", image


def class_of(letter: str) -> tuple[str, str]:
    """The writing system of a letter and its name in it: "α" is ("Greek", "small_alpha")."""
    name = unicodedata.name(letter)
    system, prefix = next((s, p) for s, p in SYSTEMS.items() if name.startswith(p + " "))
    words = name.removeprefix(prefix).replace("LETTER", "").lower().split()
    return system, "_".join(words)


def distinct(letters: list[str], faces: dict[str, dict[str, Image.Image]]) -> list[str]:
    """The letters without those that look like an earlier one in any face that both have."""
    place = {letter: k for k, letter in enumerate(letters)}
    alike = np.zeros((len(letters), len(letters)), dtype=bool)
    for glyphs in faces.values():
        there = [letter for letter in letters if letter in glyphs]
        rows = np.array([place[letter] for letter in there])
        alike[np.ix_(rows, rows)] |= lookalikes(np.stack([outline(glyphs[letter]) for letter in there]))
    kept: list[int] = []
    for k in range(len(letters)):
        if not alike[k, kept].any():
            kept.append(k)
    return [letters[k] for k in kept]


def outline(glyph: Image.Image) -> Bool[np.ndarray, "32 32"]:
    """The ink of an undistorted glyph, its longer side 28 pixels, in the middle of 32x32."""
    return _centred(glyph, 28, 32) >= 96


def lookalikes(ink: Bool[np.ndarray, "glyph 32 32"]) -> Bool[np.ndarray, "glyph glyph"]:
    """Which glyphs look alike: hardly any ink of either is over a pixel from the other's."""
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    spread = np.any([padded[:, dy : dy + 32, dx : dx + 32] for dy in range(3) for dx in range(3)], axis=0)
    # Counts of pixels, exact in float32.
    flat, area = ink.reshape(len(ink), -1).astype(np.float32), ink.sum(axis=(1, 2), dtype=np.int64)
    on = flat @ spread.reshape(len(ink), -1).astype(np.float32).T
    off = (area[:, None] - on) <= LOOKALIKE * area[:, None]
    return np.asarray(off & off.T)


def _letters_of(raw: Path, face: str) -> dict[str, Image.Image]:
    """All letters of the writing systems that a face has, undistorted, the longer side _GLYPH pixels."""
    path = raw / f"{face}.ttf"
    try:
        content = path.read_bytes()
        codes = TTFont(io.BytesIO(content), lazy=True).getBestCmap()
        font = ImageFont.truetype(io.BytesIO(content), _TYPE, layout_engine=ImageFont.Layout.BASIC)
        prefixes = tuple(f"{prefix} " for prefix in SYSTEMS.values())
        letters = [chr(code) for code in codes if unicodedata.name(chr(code), "").startswith(prefixes)]
        drawn = {letter: _rendered(font, letter) for letter in letters if _is_plain(letter)}
    except (OSError, TTLibError, AssertionError) as error:
        raise DamagedFileError(f"{path} is not a whole font ({error}); delete it and fetch it again") from None
    return {letter: glyph for letter, glyph in drawn.items() if glyph is not None}


def _is_plain(letter: str) -> bool:
    """A letter of its own: not an accented one, a ligature, a presentation form or a modifier."""
    return unicodedata.category(letter) in ("Lu", "Ll", "Lo") and not unicodedata.decomposition(letter)


def _rendered(font: ImageFont.FreeTypeFont, letter: str) -> Image.Image | None:
    """The letter's ink, cropped and enlarged to _GLYPH pixels; None if there is none."""
    # Room on every side: some letters reach far out of their line, and none is wider than three times the size.
    page = Image.new("L", (5 * _TYPE, 3 * _TYPE))
    ImageDraw.Draw(page).text((_TYPE, _TYPE), letter, fill=255, font=font)
    box = page.getbbox()
    return _fitted(page.crop(box), _GLYPH) if box else None


def _letters(prefix: str, faces: dict[str, dict[str, Image.Image]]) -> list[str]:
    there = {letter for glyphs in faces.values() for letter in glyphs}
    return sorted(letter for letter in there if unicodedata.name(letter).startswith(prefix + " "))


def _drawings(letter: str, faces: dict[str, dict[str, Image.Image]]) -> Iterator[tuple[str, np.ndarray]]:
    """DRAWINGS images [1, 28, 28] of a letter, through all faces that have it, each in its own hand."""
    import torch  # here, because it takes seconds and only drawing needs it
    from torchvision.transforms import functional as transforms

    index = np.arange(DRAWINGS * _NUMBERS, dtype=np.uint64).reshape(DRAWINGS, _NUMBERS)
    random = bits(key_of(0, f"glyph {ord(letter)}"), index, slot=0)
    hands = (random >> np.uint64(11)).astype(np.float64) / 2**53
    available = [face for face in FACES if letter in faces[face]]
    moved = _displacement(hands[:, 10:])
    for number in range(DRAWINGS):
        face = available[(number + ord(letter)) % len(available)]
        glyph = torch.from_numpy(_centred(faces[face][letter], _GLYPH, _CANVAS).astype(np.float32))[None, None]
        warped = transforms.elastic_transform(glyph, torch.from_numpy(moved[number : number + 1]))
        yield face, _penned(warped[0, 0].numpy().astype(np.uint8), hands[number, :10])


def _displacement(hands: Float64[np.ndarray, "drawing number"]) -> np.ndarray:
    """Where each pixel takes its ink from, relative to itself: an affine map and a smooth wobble.

    In units of half the canvas, as torchvision wants it, and in whole 16ths of a pixel: with a canvas of 64 pixels all
    of its arithmetic is then exact in float32, whatever the processor. Shape [drawing, 64, 64, 2], (x, y) last.
    """
    turn, slant, wide, high = ((hands[:, k, None, None] * 2 - 1) for k in range(4))
    y, x = np.mgrid[:_CANVAS, :_CANVAS] - (_CANVAS - 1) / 2
    turn = turn * np.radians(10)
    x, y = x * (1 + 0.12 * wide) + y * 0.2 * slant, y * (1 + 0.12 * high)
    wobble = _smooth() @ (hands[:, 4:54].reshape(-1, 2, 25, 1) * 2 - 1)
    wobble = 4.0 * wobble.reshape(-1, 2, _CANVAS, _CANVAS)
    at_x = np.cos(turn) * x - np.sin(turn) * y + wobble[:, 0]
    at_y = np.sin(turn) * x + np.cos(turn) * y + wobble[:, 1]
    middle_y, middle_x = np.mgrid[:_CANVAS, :_CANVAS] - (_CANVAS - 1) / 2
    pixels = np.round(np.stack([at_x - middle_x, at_y - middle_y], axis=-1) * _GRID) / _GRID
    return (pixels * 2 / _CANVAS).astype(np.float32)


@cache
def _smooth() -> Float64[np.ndarray, "pixel 25"]:
    """The weights by which 5x5 random numbers make a smooth field of 64x64 pixels."""
    at = np.linspace(0, 4, _CANVAS)[:, None] - np.arange(5)
    weight = np.where(abs(at) < 1.5, np.where(abs(at) < 0.5, 0.75 - at**2, 0.5 * (1.5 - abs(at)) ** 2), 0)
    return np.asarray(np.einsum("ya,xb->yxab", weight, weight).reshape(_CANVAS**2, 25))


def _penned(ink: UInt8[np.ndarray, "64 64"], hand: Float64[np.ndarray, "10"]) -> UInt8[np.ndarray, "1 28 28"]:
    """Drawn with a pen of random width, then set to a random size and place within the image, never cut."""
    blurred = Image.fromarray(ink).filter(ImageFilter.GaussianBlur(1.2))
    drawn = blurred.point(_pen(50 + int(hand[0] * 70)))
    box = drawn.getbbox() or (0, 0, _CANVAS, _CANVAS)
    small = np.asarray(_fitted(drawn.crop(box), 19 + int(hand[1] * 5)))
    image = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    # Off the middle by at most two pixels, and one pixel from the border.
    top, left = (
        min(max((SIDE - length) // 2 + int(hand[k] * 5) - 2, 1), SIDE - 1 - length)
        for k, length in zip((2, 3), small.shape, strict=True)
    )
    image[0, top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


@cache
def _pen(threshold: int) -> list[int]:
    """What becomes of each grey value: the lower the threshold, the broader the pen."""
    return [min(255, max(0, (value - threshold) * 4)) for value in range(256)]


def _fitted(ink: Image.Image, longest: int) -> Image.Image:
    """Resized so that the longer side has `longest` pixels."""
    width, height = (max(1, round(length * longest / max(ink.size))) for length in ink.size)
    return ink.resize((width, height), Image.Resampling.LANCZOS)


def _centred(glyph: Image.Image, longest: int, side: int) -> UInt8[np.ndarray, "side side"]:
    ink = np.asarray(_fitted(glyph, longest))
    canvas = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas
