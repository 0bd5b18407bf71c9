"""The project as it was at a version's commit, in a git work tree of its own, and Python there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from configobj import ConfigObj

from fewshot.errors import PipelineError
from fewshot.project.doctor import Finding
from fewshot.project.fingerprints import code_key
from fewshot.project.paths import Home
from fewshot.settings.schema import settings_from
from fewshot.system.files import write_bytes
from fewshot.tracking.versions import Version
from fewshot.training.identity import identity_of


@contextmanager
def work_tree(home: Home, version: Version) -> Iterator[tuple[Path, Finding]]:
    """The project as it was at the version's commit, in a folder of its own that is deleted afterwards."""
    commit, dirty = version.tag("fewshot.git_commit"), version.tags.get("fewshot.git_dirty") == "true"
    if not re.fullmatch("[0-9a-f]{40,64}", commit):  # it becomes an argument of git
        raise PipelineError(
            f"{version.model}/{version.number} names no commit ('{commit}'): the project was not under git when it was "
            "trained; use --evaluate-only"
        )
    tree = home.state / "verify" / f"{version.model}-{version.number}"
    _remove(home, tree)
    tree.parent.mkdir(parents=True, exist_ok=True)
    done = git(home, "worktree", "add", "--detach", str(tree), commit)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["git is not there"]
        raise PipelineError(
            f"the commit {commit} of {version.model}/{version.number} can't be checked out ({said[0]}); "
            "fetch it, or use --evaluate-only"
        )
    try:
        _share_cache(home, tree)
        same = _code_key(tree, version) == version.tag("fewshot.code_key")
        state = f"commit {commit[:12]}" + (", with changes that were not committed" if dirty else "")
        text = state if same else f"{state}: what trained this version is not what that commit holds"
        yield tree, Finding("code", same, text)
    finally:
        _remove(home, tree)


def _share_cache(home: Home, tree: Path) -> None:
    """Let DVC in the work tree use the project's cache and remote. Its own command writes ASCII paths only."""
    config = ConfigObj(encoding="utf-8")
    config["cache"] = {"dir": str(home.project / ".dvc" / "cache")}
    config['remote "local"'] = {"url": str(home.state / "dvc-remote")}
    text = BytesIO()
    config.write(text)
    write_bytes(tree / ".dvc" / "config.local", text.getvalue())


def _code_key(tree: Path, version: Version) -> str:
    """The key of the code in the work tree, as the format of the version's tags has it."""
    if version.format == 1:
        return code_key("fewshot.train", tree)
    return identity_of(settings_from(version.settings()), {}, tree).code_key


def run_in(tree: Path, *arguments: str) -> None:
    """Run Python in the work tree, with its code, and knowing nothing of this project's state.

    Raises PipelineError with the last line of what went wrong.
    """
    ours = ("FEWSHOT_HOME", "FEWSHOT_PROJECT", "PREFECT_", "MLFLOW_", "DVC_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables["PYTHONPATH"] = str(tree)
    done = subprocess.run([sys.executable, *arguments], cwd=tree, env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        # DVC ends with where to ask for help, after its error.
        lines = [line for line in done.stderr.splitlines() if line.strip() and "https://dvc.org/support" not in line]
        what = " ".join(arguments[:3]) if arguments[0] == "-m" else "training"
        raise PipelineError(f"{what} failed in the work tree: {lines[-1] if lines else '?'}")


def _remove(home: Home, tree: Path) -> None:
    if tree.exists():
        git(home, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(tree, ignore_errors=True)
    git(home, "worktree", "prune")


def git(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run git in the project."""
    return subprocess.run(["git", *arguments], cwd=home.project, capture_output=True, text=True)
