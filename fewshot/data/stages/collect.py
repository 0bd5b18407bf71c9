"""Copy the images of a user's own folder."""

from pathlib import Path

from fewshot.data.sources import folder
from fewshot.data.sources.folder import FolderOptions
from fewshot.data.stages.disk import disk_errors


def collect(options: FolderOptions, data_dir: Path) -> None:
    """Copy the images of a user's own folder into data_dir/folder/raw. Raises what `folder.collect` raises."""
    raw = data_dir / "folder" / "raw"
    with disk_errors(raw):
        raw.mkdir(parents=True, exist_ok=True)
        folder.collect(options, raw)
