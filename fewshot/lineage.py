"""Where a result comes from: data, code, environment and git commit, so that it can be rebuilt from its tags alone."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from fewshot.home import Home
from fewshot.keys import code_key, lock_key


@dataclass(frozen=True)
class Lineage:
    """What was there when a run was made."""

    data_digest: str
    """`Dataset.digest` of the training data."""
    code_key: str
    """Code key of fewshot.train."""
    lock_key: str
    """SHA-256 of requirements.lock, or "none"."""
    commit: str
    """Git commit, or "none" outside a repository."""
    dirty: bool
    """Whether files differed from that commit."""
    flow_run: str
    """Id of the Prefect flow run, or "none"."""

    def tags(self) -> dict[str, str]:
        """As MLflow tags of a run or of a model version."""
        return {
            "fewshot.data_digest": self.data_digest,
            "fewshot.code_key": self.code_key,
            "fewshot.lock_key": self.lock_key,
            "fewshot.git_commit": self.commit,
            "fewshot.git_dirty": str(self.dirty).lower(),
            "fewshot.flow_run": self.flow_run,
        }


def lineage(home: Home, data_digest: str, flow_run: str = "none") -> Lineage:
    """The lineage of what this process makes now."""
    commit, dirty = git_state(home.project)
    return Lineage(data_digest, code_key("fewshot.train"), lock_key(home.project), commit, dirty, flow_run)


def git_state(project: Path) -> tuple[str, bool]:
    """The commit of the working tree and whether it was changed since; ("none", False) without git or a repository."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return "none", False
    return commit, bool(_git(project, "status", "--porcelain", "--untracked-files=no"))


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
