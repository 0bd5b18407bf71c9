"""How the commands print: a console, and tables that lose nothing. rich is imported when something is printed."""

from typing import Any


def make_console() -> Any:
    """A console that neither breaks lines nor colours what it takes for numbers."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def make_table(*columns: str) -> Any:
    """A table that breaks long words, as paths are, instead of cutting them off."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in columns), box=SIMPLE_HEAD, pad_edge=False)
