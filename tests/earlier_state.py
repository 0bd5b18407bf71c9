"""A state folder as an earlier release left it: two versions of a model, the second promoted over the first.

`legacy/state-format-1.tar.xz` was written by the release before formats were numbered, in the folder /PROJECT: wherever
it is unpacked, it was moved.
"""

import tarfile
from pathlib import Path

LEGACY = Path(__file__).parent / "legacy"


def unpack(project: Path, state: Path) -> None:
    """Unpack to `state` what that release had in `project`/.fewshot, and a training folder of its own: alone."""
    folder = state.parent / "unpacked"
    with tarfile.open(LEGACY / "state-format-1.tar.xz") as archive:
        # Python before 3.11.4 knows no filter, from 3.12 on it warns without one; this archive is our own.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (folder / "state").rename(state)
    (folder / "alone").rename(state.parent / "alone")
