"""A contact sheet: some images of each class of a split, on one page, to be looked at."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fewshot.data.dataset import Dataset
from fewshot.data.pack import degrees, unrotated
from fewshot.system.files import write_atomically
from fewshot.system.text import shown

CLASSES, IMAGES = 24, 8
"""Classes on a sheet and images of each; of more, those that are spread evenly over them."""
_CELL, _LABEL, _GAP = 84, 220, 4


def contact_sheet(dataset: Dataset, split: str, file: Path) -> Path:
    """Write a sheet of a split as a PNG file: a row for each class, with its name. Raises what `class_names` raises."""
    names = dataset.class_names(split)
    chosen = [names[place] for place in _spread(len(names), CLASSES)]
    sheet = Image.new("RGB", (_LABEL + IMAGES * (_CELL + _GAP), len(chosen) * (_CELL + _GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(_font(), 14)
    packed = {one.name: one for one in dataset.pack.classes}
    for number, name in enumerate(chosen):
        of_class, top = packed[unrotated(name)], number * (_CELL + _GAP)
        label = f"{_short(name)}\n{of_class.count} images"
        draw.multiline_text((6, top + 6), label, fill="black", font=font)
        for column, place in enumerate(_spread(of_class.count, IMAGES)):
            pixels = np.rot90(dataset.pack.images[of_class.start + place], degrees(name) // 90, axes=(-2, -1))
            sheet.paste(_cell(pixels), (_LABEL + column * (_CELL + _GAP), top))
    write_atomically(file, lambda path: sheet.save(path, "PNG"))
    return file


def _spread(there: int, wanted: int) -> list[int]:
    """Up to `wanted` places, spread evenly over those that are there."""
    return sorted({round(place) for place in np.linspace(0, there - 1, min(there, wanted))})


def _short(name: str) -> str:
    text = shown(name)
    return text if len(text) <= 26 else f"...{text[-23:]}"


def _cell(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return image.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC)


def _font() -> str:
    """A font that has most scripts: the one that comes with matplotlib."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
