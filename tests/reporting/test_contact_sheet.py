"""A contact sheet shows classes of a split by name, as they are turned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot.data.dataset import Dataset
from fewshot.errors import DataError
from fewshot.reporting.contact_sheet import CLASSES, contact_sheet


def test_each_class_is_a_row(tmp_path: Path) -> None:
    images = np.zeros((90, 1, 8, 8), dtype=np.uint8)
    images[:, :, :4] = 255  # bright above
    labels = [f"class {number // 3:02} ☃ [x]" for number in range(90)]
    dataset = Dataset.from_arrays(images, labels, splits="test-only")
    sheet = Image.open(contact_sheet(dataset, "test", tmp_path / "a" / "sheet.png"))
    row = sheet.height // CLASSES
    pixels = np.asarray(sheet.convert("L"))
    assert pixels[2, 230] == 255
    assert pixels[row - 8, 230] == 0
    assert pixels[: row // 2, :200].min() < 50, "its name"
    with pytest.raises(DataError, match="has no train classes"):
        contact_sheet(dataset, "train", tmp_path / "none.png")
