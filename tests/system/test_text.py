"""Text of others on the terminal, in Markdown and in figures: it stays text."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.cli.console import make_console, make_table, styled
from fewshot.evaluation.figures import accuracies, confusion
from fewshot.evaluation.stats import Score
from fewshot.system.text import in_markdown, shown

HOSTILE = [
    "photo [copy].png",
    "[old] circle",
    "[/b]",
    ":smile:",
    "\x1b]0;title\x07",
    "\x1b[31mred",
    "a\rb",
    "\u202etxt.exe",
]
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.text(st.characters()))
def test_no_control_character_is_left_and_the_rest_is_as_it_was(text: str) -> None:
    found = shown(text)
    assert not CONTROLS.search(found)
    assert "\n" not in found
    assert shown(found) == found
    if text.isprintable():
        assert found == text


@given(st.text(st.characters(), max_size=30))
def test_a_console_prints_names_as_they_are(text: str) -> None:
    console = make_console()
    console.file = io.StringIO()
    console.print(f"name {text}", styled(text, "bold"))
    lines = shown(text, keep="\n")
    assert console.file.getvalue().startswith(f"name {lines}")
    assert not CONTROLS.search(console.file.getvalue())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_keeps_brackets_and_escapes_what_controls(name: str) -> None:
    console, table = make_console(), make_table("class")
    console.file = io.StringIO()
    table.add_row(name)
    console.print(table)
    assert shown(name) in console.file.getvalue()
    assert not CONTROLS.search(console.file.getvalue())


def test_dollars_and_backslashes_in_names_are_no_formula() -> None:
    names = ["a$b$c_{", "$\\frac{", "\x1b[31m"]
    for figure in (confusion(np.eye(3, dtype=int), names, "$x_{$"), accuracies(names, [Score(0.5, 0.1, 3)] * 3, "$$_")):
        assert figure.startswith(b"\x89PNG")


def test_markdown_takes_no_mark_of_a_name() -> None:
    assert in_markdown("a|b <script> [x](y) `c` *d* \x1b") == r"a\|b \<script\> \[x\](y) \`c\` \*d\* \\x1b"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_any_name_can_be_printed_whatever_the_encoding(encoding: str) -> None:
    code = "from fewshot.system.text import take_any_text; take_any_text(); print('95 ± 1', 'ä', '\\udce4', '字')"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode(encoding)
    assert said.startswith("95 +- 1" if encoding == "ascii" else "95 ± 1")
    assert "\\udce4" in said
