"""The tutorial is run as it is written: its files are made, its commands and programs end well."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from project_copy import command, ended, python

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home

FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    language: str
    file: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((SOURCES / "docs" / page).read_text(encoding="utf-8"))]


def merged(old: dict, new: dict) -> dict:
    """Two tables as one, section by section."""
    both = {key: merged(old[key], value) if isinstance(old.get(key), dict) else value for key, value in new.items()}
    return {**old, **both}


def write(project: Path, block: Block) -> None:
    file = project / block.file
    if block.language == "yaml" and file.exists():
        values = merged(yaml.safe_load(file.read_text()), yaml.safe_load(block.text))
        file.write_text(yaml.safe_dump(values, sort_keys=False))
    else:
        file.write_text(block.text, encoding="utf-8")


@pytest.mark.slow
def test_what_is_of_ones_own_works_as_the_tutorial_says(own_home: Home) -> None:
    for block in blocks("extend.md"):
        if block.file:
            write(own_home.project, block)
            assert len(block.text.splitlines()) <= 20, f"{block.file} is short"
        elif block.language == "sh":
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "fewshot"
                status, text = ended(command(own_home, *words[1:], FEWSHOT_HOME=str(own_home.state)))
                assert status == 0, f"{line}\n{text}"
        elif block.language == "python":
            status, text = ended(python(own_home, "-c", block.text))
            assert status == 0, text
            assert "Score(" in text
