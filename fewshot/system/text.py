"""Text that comes from others, as names of files, classes and tags, made fit to be shown."""

import codecs
import re
import sys
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what controls a terminal, turns the direction of writing or shows nothing."""
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$!])")
_JOINERS = frozenset("\u200c\u200d")
"""Of these, what words of some languages need."""


def shown(text: str, keep: str = "") -> str:
    """The text with every control character written as its escape, such as \\x1b; those in `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        if letter in keep or letter in _JOINERS or unicodedata.category(letter) not in _HIDDEN
        else _escape(letter)
        for letter in text
    )


def in_markdown(text: str) -> str:
    """The text as it is in Markdown, also in a table: no mark of it is taken for formatting or HTML."""
    return _MARKS.sub(r"\\\1", shown(text))


def take_any_text() -> None:
    """Let standard output and error take any text: what their encoding lacks is written as its escape.

    Their encoding is the user's, ASCII for example, and a file's name may be no text at all.
    """
    codecs.register_error("fewshot", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="fewshot")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join("+-" if letter == "±" else _escape(letter) for letter in lost), error.end


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
