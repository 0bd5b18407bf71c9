"""What the README says is true: its commands exist, its numbers are those of the recorded runs."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer.main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize("command", [words for words in COMMANDS if words[0] == "fewshot"], ids=" ".join)
def test_each_fewshot_command_is_understood(command: list[str], own_datasets: None) -> None:
    from fewshot.settings.presets import load_settings
    from flows.cli.app import build_app

    group: click.Command = typer.main.get_command(build_app())
    words = command[1:]
    while hasattr(group, "commands"):
        group = group.commands[words[0]]
        words = words[1:]
    context = group.make_context(group.name, list(words))
    if "preset" in context.params:
        load_settings(context.params["preset"], list(context.params["settings"] or []))


@pytest.mark.parametrize("command", [words for words in COMMANDS if words[0] == "make"], ids=" ".join)
def test_each_make_target_is_there(command: list[str]) -> None:
    done = subprocess.run(["make", "--dry-run", *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_table_is_that_of_the_recorded_runs() -> None:
    table = subprocess.run(
        [sys.executable, "benchmarks/table.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert table.strip() in README


def test_the_speeds_are_those_of_the_recorded_race() -> None:
    race = json.loads((ROOT / "benchmarks/speed/results/race.json").read_text(encoding="utf-8"))
    text = " ".join(BENCHMARKS.split())
    for found in race["cases"]:
        name, ours = found["case"], found["contestants"]["ours"]
        if "p50 ms" in ours:
            assert f"{ours['p50 ms']:.1f} ms ({name})" in text
        else:
            fastest = found["times as long as ours"][found["best peer"]]["ours"]
            assert f"{name} {fastest['median']:.2f} [{fastest['low']:.2f}, {fastest['high']:.2f}]" in text
    [step] = [found for found in race["cases"] if found["case"] == "protonet-20w5s5q"]
    share = step["contestants"]["ours"]["share of the convolution"]
    assert f"The step of protonet-20w5s5q reaches {100 * share:.0f} % of the rate of bfloat16 convolutions" in text


def test_every_file_and_folder_it_names_is_there() -> None:
    for text, folder in ((README, ROOT), (BENCHMARKS, ROOT / "benchmarks")):
        for path in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in path:
                assert (folder / path).exists(), path
