"""Get the raw files of a dataset."""

from pathlib import Path

from fewshot.data.sources import Source
from fewshot.data.stages.disk import disk_errors


def fetch(dataset: str, source: Source, data_dir: Path) -> None:
    """Get the raw files into data_dir/<dataset>/raw; whole ones that are there already are kept. Raises DataError."""
    raw = data_dir / dataset / "raw"
    with disk_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)
        for stranger in raw.iterdir():
            # Halves of files to come stay, so that a download goes on where an earlier one was cut.
            if stranger.name.removeprefix(".").removesuffix(".part") not in source.files and stranger.is_file():
                stranger.unlink()
        source.fetch(raw)
