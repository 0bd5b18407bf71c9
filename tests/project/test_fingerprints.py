"""Keys: what must change them, and what must not."""

import ast
import shutil
from pathlib import Path

import pytest

from fewshot.errors import UsageError
from fewshot.project.fingerprints import SOURCES, code_hashes, code_key, flatten, pick, requirements_hash
from fewshot.settings.presets import load_settings

FILES = {
    "fewshot/__init__.py": "",
    "fewshot/top.py": "from fewshot.middle import double\n\n\ndef top(x):\n    return double(x)\n",
    "fewshot/middle.py": "def double(x):\n    from fewshot.deep import two\n\n    return two.FACTOR * x\n",
    "fewshot/deep/__init__.py": "",
    "fewshot/deep/two.py": "FACTOR = 2\n",
    "fewshot/typed.py": "WIDTH = 3\n",
    "fewshot/unrelated.py": "X = 1\n",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small package with a chain of imports: top -> middle -> (inside a function) deep.two."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def edit(sources: Path, name: str, text: str) -> None:
    (sources / name).write_text(text)


def test_the_closure_follows_imports_in_functions_and_holds_parent_packages(sources: Path) -> None:
    expected = ["fewshot", "fewshot.deep", "fewshot.deep.two", "fewshot.middle", "fewshot.top"]
    assert list(code_hashes("fewshot.top", sources)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\nFACTOR = 2\n",
        '"""A docstring."""\n\nFACTOR = 2\n',
        "\n\nFACTOR = (\n    2\n)\n",
        'FACTOR = 2\n"""Says what it is."""\n',
        "from typing import TYPE_CHECKING",
    ],
)
def test_comments_docstrings_and_layout_change_nothing(sources: Path, text: str) -> None:
    if text.startswith("from typing"):
        edit(sources, "fewshot/deep/two.py", f"{text}\nFACTOR = 2\n")
        before = code_key("fewshot.top", sources)
        edit(sources, "fewshot/deep/two.py", f"{text}\nif TYPE_CHECKING:\n    import fewshot.typed\nFACTOR = 2\n")
    else:
        before = code_key("fewshot.top", sources)
        edit(sources, "fewshot/deep/two.py", text)
    assert code_key("fewshot.top", sources) == before


def test_a_docstring_of_a_function_that_has_nothing_else_is_like_pass(sources: Path) -> None:
    edit(sources, "fewshot/deep/two.py", 'FACTOR = 2\n\n\ndef nothing():\n    """Nothing."""\n')
    before = code_key("fewshot.top", sources)
    edit(sources, "fewshot/deep/two.py", "FACTOR = 2\n\n\ndef nothing():\n    pass\n")
    assert code_key("fewshot.top", sources) == before


def test_a_changed_line_changes_the_hash_of_its_module_alone(sources: Path) -> None:
    before = code_hashes("fewshot.top", sources)
    edit(sources, "fewshot/deep/two.py", "FACTOR = 3\n")
    after = code_hashes("fewshot.top", sources)
    assert {name for name in before if before[name] != after[name]} == {"fewshot.deep.two"}


def test_modules_that_are_not_reached_do_not_count(sources: Path) -> None:
    before = code_key("fewshot.top", sources)
    edit(sources, "fewshot/unrelated.py", "X = 2\n")
    assert code_key("fewshot.top", sources) == before


def test_a_text_that_is_used_is_no_docstring(sources: Path) -> None:
    edit(sources, "fewshot/deep/two.py", "FACTOR = 2\nNAME = 'a'\n")
    before = code_key("fewshot.top", sources)
    edit(sources, "fewshot/deep/two.py", "FACTOR = 2\nNAME = 'b'\n")
    assert code_key("fewshot.top", sources) != before


def test_an_import_that_cannot_be_found_is_passed_over_and_an_unknown_entry_is_an_error(sources: Path) -> None:
    edit(sources, "fewshot/deep/two.py", "import numpy\nimport fewshot.gone\nFACTOR = 2\n")
    assert "fewshot.gone" not in code_hashes("fewshot.top", sources)
    with pytest.raises(UsageError, match=r"module fewshot\.gone has no source file"):
        code_hashes("fewshot.gone", sources)


def test_training_reaches_the_methods_it_may_choose_from_by_name_and_not_the_flows() -> None:
    reached = code_hashes("fewshot.training.loop")
    assert {"fewshot.training.loop", "fewshot.backbones.build", "fewshot.methods.build"} <= set(reached)
    assert not {"fewshot.methods.maml", "fewshot.backbones.resnet12"} & set(reached)  # reached by name alone
    assert not [name for name in reached if name.startswith(("flows", "fewshot.tracking", "fewshot.cli"))]


def test_every_module_has_a_hash_that_does_not_depend_on_the_process(tmp_path: Path) -> None:
    shutil.copytree(SOURCES / "fewshot", tmp_path / "fewshot", ignore=shutil.ignore_patterns("__pycache__"))
    assert code_hashes("fewshot.training.loop", tmp_path) == code_hashes("fewshot.training.loop")


def test_settings_are_flat_and_only_those_that_are_read() -> None:
    settings = load_settings(overrides=["train.steps=7"]).plain()
    read = pick(settings, ("seed", "train"))
    assert read["train.steps"] == 7
    assert read["seed"] == 0
    assert not [name for name in read if name.startswith(("evaluate", "method"))]
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}}) == {"a.b.c": 1, "a.d": [1, 2]}


def test_the_lock_key_is_the_digest_of_the_file_or_none(tmp_path: Path) -> None:
    assert requirements_hash(tmp_path) == "none"
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    first = requirements_hash(tmp_path)
    (tmp_path / "requirements.lock").write_text("torch==3\n")
    assert "none" != first != requirements_hash(tmp_path)


def test_the_library_imports_neither_flows_nor_prefect() -> None:
    for file in (SOURCES / "fewshot").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] in ("flows", "prefect", "dvc")], file
