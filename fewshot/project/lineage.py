"""Where a result comes from: data, code, environment and git commit, so that it can be rebuilt from its tags alone."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fewshot.migrations import FORMAT, FORMAT_TAG
from fewshot.project.fingerprints import requirements_hash
from fewshot.project.paths import Home
from fewshot.system.files import canonical_json


@dataclass(frozen=True)
class Lineage:
    """What was there when a run was made."""

    data_digest: str
    """`Dataset.digest` of the training data."""
    code_key: str
    """Hash of the code that the training reached: `TrainingIdentity.code_key`."""
    requirements_hash: str
    """SHA-256 of requirements.lock, or "none"."""
    commit: str
    """Git commit, or "none" outside a repository."""
    dirty: bool
    """Whether files differed from that commit."""
    flow_run: str
    """Id of the Prefect flow run, or "none"."""
    data_md5: str = "{}"
    """What DVC holds of the training data: JSON of path -> md5."""
    machine: str = ""
    """Processor, cores, versions of Python and torch: training is bit-identical on one machine only."""

    def tags(self) -> dict[str, str]:
        """As MLflow tags of a run or of a model version."""
        return {
            FORMAT_TAG: str(FORMAT),
            "fewshot.data_digest": self.data_digest,
            "fewshot.code_key": self.code_key,
            "fewshot.lock_key": self.requirements_hash,
            "fewshot.git_commit": self.commit,
            "fewshot.git_dirty": str(self.dirty).lower(),
            "fewshot.flow_run": self.flow_run,
            "fewshot.data_md5": self.data_md5,
            "fewshot.machine": self.machine,
        }


def lineage(
    home: Home, data_digest: str, code_key: str, flow_run: str = "none", data_md5: Mapping[str, str] | None = None
) -> Lineage:
    """The lineage of what this process makes now; `code_key` is that of the training's identity."""
    commit, dirty = git_state(home.project)
    requirements, md5 = requirements_hash(home.project), canonical_json(data_md5 or {})
    return Lineage(data_digest, code_key, requirements, commit, dirty, flow_run, md5, machine())


def machine() -> str:
    """This machine in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {cores} cores, {system}, Python {platform.python_version()}, torch {version('torch')}"


def git_state(project: Path) -> tuple[str, bool]:
    """The commit of the working tree and whether it was changed since; ("none", False) without git or a repository."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return "none", False
    return commit, bool(_git(project, "status", "--porcelain", "--untracked-files=no"))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
