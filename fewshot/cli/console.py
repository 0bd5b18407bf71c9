"""How the commands print: a console, and tables that lose nothing. rich is imported when something is printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.project.doctor import Finding


def make_console() -> Any:
    """A console that neither breaks lines nor colours what it takes for numbers."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def make_table(*columns: str) -> Any:
    """A table that breaks long words, as paths are, instead of cutting them off."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in columns), box=SIMPLE_HEAD, pad_edge=False)


def print_findings(findings: "Sequence[Finding]") -> bool:
    """A line for each thing that was looked at; returns whether all is well."""
    console = make_console()
    for finding in findings:
        console.print(f"{'[green]ok[/]    ' if finding.ok else '[red]broken[/]'} {finding.subject:14}", end=" ")
        console.print(finding.text, markup=False)
    return all(finding.ok for finding in findings)
