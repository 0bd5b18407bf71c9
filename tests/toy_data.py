"""A small dataset that takes milliseconds to make and that any method can learn: bright bars, one slope a class."""

from pathlib import Path

import numpy as np

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.data.fixed_episodes import write_fixed_episodes
from fewshot.data.pack import write_pack
from fewshot.data.splits import SplitScheme, class_table, episodes_path, scheme_path, write_scheme
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import Settings, settings_from

TOY = {
    "threads": 1,
    "backbone": {"form": "strided", "channels": 4},
    "train": {
        "episode": "4w1s3q",
        "tasks": 2,
        "steps": 40,
        "validate_every": 15,
        "validation": "3w1s4q",
        "validation_episodes": 20,
        "checkpoint_every": 5,
    },
    "evaluate": {"shapes": ["3w1s4q"], "episodes": 40},
}

SHAPES = (EpisodeShape(3, 1, 4), EpisodeShape(3, 2, 4))


def toy_dataset(data: Path, size: int = 16, seed: int = 0) -> Dataset:
    """Writes a dataset called "glyphs" below `data`, as the data stages do, and returns it."""
    numbers = np.random.default_rng(seed)
    items = [
        (f"bars/{name:02d}", f"group{name % 3}", f"{image:02d}.png", _bar(name, size, numbers))
        for name in range(24)
        for image in range(8)
    ]
    pack = write_pack(data / "glyphs" / "pack", items)
    names = [packed.name for packed in pack.classes]
    parts = {"train": names[:12], "val": names[12:16], "gate": names[16:20], "test": names[20:]}
    sets = {
        f"{part}/{shape}": EpisodeSampler(class_table(pack.classes, parts[part]), shape, 0, part).sample(0, 40)
        for part in ("val", "gate", "test")
        for shape in SHAPES
    }
    file = episodes_path(data, "glyphs", "scripts")
    digest = write_fixed_episodes(file, sets)
    split = SplitScheme("glyphs", "scripts", pack.digest, {part: tuple(of) for part, of in parts.items()}, digest)
    write_scheme(scheme_path(data, "glyphs", "scripts"), split)
    return Dataset("glyphs", pack, split, file)


def _bar(name: int, size: int, numbers: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    angle = np.pi * name / 24 + 0.02 * numbers.standard_normal()
    distance = np.abs(columns * np.sin(angle) - rows * np.cos(angle))
    ink = np.clip(1.5 - distance, 0, 1) * 220 + 20 * numbers.random((size, size))
    return ink.astype(np.uint8)[None]


def toy_settings(method: str = "protonet", **train_settings: object) -> Settings:
    return settings_from(TOY | {"method": {"name": method}, "train": TOY["train"] | train_settings})  # type: ignore[operator]
