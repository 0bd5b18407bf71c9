"""Every error that a user can meet, under one base. A message says what, where and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class FewshotError(Exception):
    """Base of all errors of this package. The command line prints its message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(FewshotError):
    """The command or a setting is wrong: an unknown name, a value out of range, a device that is not there."""

    exit_code = 2


class DataError(FewshotError):
    """The data can't serve the request: too few classes or images, a source that can't be fetched."""


class DamagedFileError(DataError):
    """A file is not what was written: its digest, size or form differs. The message says how to get it back."""


class TrainingError(FewshotError):
    """Meta-training can't go on, for example because the loss is no longer finite."""


class Interrupted(FewshotError):
    """The user or the system asked to stop; what was done so far is kept and the same command goes on from there."""

    exit_code = 130


class RegistryError(FewshotError):
    """MLflow does not answer, or does not hold what was asked for."""


class PipelineError(FewshotError):
    """A step of the pipeline failed outside the library: DVC, Prefect, a server's port."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name that is not in `known`, with the nearest one that is."""
    names = sorted(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of: {', '.join(names)}"
    return UsageError(f"unknown {kind} '{name}'; {hint}")
