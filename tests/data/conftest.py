"""What the tests of the data layer share."""

from pathlib import Path

import numpy as np
import pytest

from fewshot.data.pack import Item


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared(root: Path) -> Path:
    """Read-only material beside the project; the test is skipped where it is absent."""
    folder = root.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared, which is not here")
    return folder


@pytest.fixture
def items() -> list[Item]:
    """Three classes of two groups with 4, 3 and 5 images of 1x6x5 pixels, in no order."""
    numbers = np.random.default_rng(0)
    wanted = [("b/x", "b", 4), ("a/y", "a", 3), ("b/a", "b", 5)]
    made = [
        (name, group, f"{name}-{k}.png", numbers.integers(0, 256, (1, 6, 5), dtype=np.uint8))
        for name, group, count in wanted
        for k in range(count)
    ]
    return [made[k] for k in numbers.permutation(len(made))]
