"""A version made again from its record alone, in a project under git: the same, and in each way not the same."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Place, at_home
from project_copy import command, run_tiny
from test_retrain import retrain

from fewshot.errors import FewshotError
from fewshot.project.paths import Home, find_home
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.store import Store
from fewshot.tracking.unused import Unused, remove_files
from fewshot.tracking.versions import find_version

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]


def git(home: Home, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.excludesFile=/dev/null"]
    done = subprocess.run(["git", *who, *arguments], cwd=home.project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(own_home: Home) -> Home:
    """The project, committed, with a first version registered."""
    (own_home.project / ".gitignore").write_text(".fewshot\n__pycache__\ndata/*/\n.dvc/cache\n.dvc/tmp\n*.local\n")
    git(own_home, "init", "-q")
    git(own_home, "add", "-A")
    git(own_home, "commit", "-qm", "as it is")
    return own_home


@pytest.fixture(scope="module")
def judged(template: Path, tmp_path_factory: pytest.TempPathFactory, servers: Place) -> Iterator[Store]:
    """The registry of a project with a version, in which this process works."""
    with at_home(Home(template, tmp_path_factory.mktemp("judged") / "state"), servers) as home:
        retrain()
        yield Store.open(home)


def train(home: Home, *overrides: str) -> None:
    process = run_tiny(home, *overrides)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err


def say(home: Home, *arguments: str) -> tuple[int | None, str]:
    process = command(home, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


@pytest.mark.nightly
def test_a_version_is_rebuilt_to_the_bit_and_whatever_is_not_the_same_is_named(repository: Home) -> None:
    home = repository
    train(home)
    status, text = say(home, "verify", "glyphs-protonet/1")
    assert status == 0, text
    assert "broken" not in text
    assert "rebuilt        bit-identical" in text
    assert "numbers        glyphs/5w1s" in text
    assert git(home, "worktree", "list").count("\n") == 0, "the work tree is gone"

    status, text = say(home, "lineage", "glyphs-protonet")
    assert status == 0, text
    assert f"git commit  {git(home, 'rev-parse', 'HEAD')}" in text
    assert "data/glyphs/pack md5" in text
    assert "torch" in text

    # Trained with code that no commit holds.
    protonet = home.project / "fewshot" / "methods" / "protonet.py"
    source = protonet.read_text()
    assert "return -squared_distance" in source
    protonet.write_text(source.replace("return -squared_distance", "return -0.5 * squared_distance"))
    train(home)
    status, text = say(home, "verify", "glyphs-protonet/2")
    assert status == 1
    assert "with changes that were not committed: what trained this version is not what that commit holds" in text
    assert "not identical; parted at step" in text
    protonet.write_text(source)

    # Another lock, and weights that somebody changed.
    lock = home.project / "requirements.lock"
    lock.write_text(lock.read_text() + "\n# changed\n")
    weights = model_folder(Store.open(home), "models:/glyphs-protonet/1") / "weights.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    status, text = say(home, "verify", "glyphs-protonet/1", "--evaluate-only")
    assert status == 1
    assert "files          tampered with" in text
    assert "weights        tampered with" in text
    assert "lock           requirements.lock is" in text
    assert "data           glyphs" in text

    Store.open(home).client.set_model_version_tag("glyphs-protonet", "2", "fewshot.git_commit", "0" * 40)
    status, text = say(home, "verify", "glyphs-protonet/2")
    assert status == 1
    assert f"the commit {'0' * 40} of glyphs-protonet/2 can't be checked out" in text
    status, text = say(home, "verify", "nobody")
    assert status == 1
    assert "Traceback" not in text


@pytest.mark.nightly
def test_a_version_whose_files_were_removed_is_rebuilt_to_the_bit_from_its_record(repository: Home) -> None:
    for seed in range(2):
        train(repository, f"seed={seed}")
    store = Store.open(repository)
    version = find_version(store, "glyphs-protonet/1")
    files = store.files_of("glyphs-protonet", "1")
    assert files is not None
    remove_files(store, Unused(version, (files,)))
    shutil.rmtree(repository.trainings)
    status, text = say(repository, "verify", "glyphs-protonet/1")
    assert status == 0, text
    assert "by fewshot clean; the record is compared with" in text
    assert "rebuilt        bit-identical" in text
    assert "numbers        glyphs/5w1s" in text
    status, text = say(repository, "verify", "glyphs-protonet/1", "--evaluate-only")
    assert (status, text.count("\n")) == (1, 1)
    assert "were removed" in text
    assert "without --evaluate-only it is made from its record" in text


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        ("fewshot.settings", '{"seed": "x"}', r"the tag fewshot\.settings of .* can't be used: setting seed = 'x'"),
        ("fewshot.settings", '{"data": 5}', r"the tag fewshot\.settings of .* can't be used: setting data = 5"),
        ("fewshot.settings", "[1]", r"fewshot\.settings of .* is not what was written there; restore it"),
        *(
            (name, None, f"has no tag {name}: an older fewshot registered it, or the tag was deleted; restore it")
            for name in ("fewshot.weights_sha256", "fewshot.lock_key", "fewshot.data_digest")
        ),
    ],
)
def test_a_record_that_somebody_changed_is_said(judged: Store, tag: str, value: str | None, message: str) -> None:
    from flows.verify import verify

    kept = find_version(judged, "glyphs-protonet/1").tags[tag]
    if value is None:
        judged.untag_version("glyphs-protonet", "1", tag)
    else:
        judged.tag_version("glyphs-protonet", "1", {tag: value})
    try:
        with pytest.raises(FewshotError, match=message):
            list(verify(find_home(), "glyphs-protonet/1", evaluate_only=True))
    finally:
        judged.tag_version("glyphs-protonet", "1", {tag: kept})
