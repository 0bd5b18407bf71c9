"""Tables of images: CSV files with a row for each, as annotation tools and papers write them.

path,label,group,split
wren/1.jpg,wren,birds,train
"""

import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fewshot.data.archive import objection_to_name
from fewshot.data.class_folders import SUFFIXES as IMAGES
from fewshot.data.class_folders import Found, objection_to_class, refuse
from fewshot.errors import DataError, unknown
from fewshot.settings.declarations import SPLITS

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {
    "path": ("path", "filename", "file", "image", "image_path", "filepath"),
    "label": ("label", "class", "class_name", "category"),
    "group": ("group", "superclass"),
    "split": ("split", "part", "partition"),
}
"""Column -> the names that it goes by, in lower case."""
_OF_SPLIT = {
    "validation": "val",
    "valid": "val",
    "training": "train",
    "testing": "test",
    "novel": "test",
    "base": "train",
}

Row = dict[str, str]
Tables = tuple[list[Found], dict[str, str], dict[str, str]]
"""Images in the order of class and name, class -> group, class -> split."""


def is_table(place: Path) -> bool:
    """True for a CSV or TSV file, by its name."""
    return place.suffix.lower() in SUFFIXES and place.is_file()


def find_in_tables(tables: list[Path], folder: Path) -> Tables:
    """The images that tables name, below `folder`. DataError that names each row that is wrong.

    Columns are path and label (or filename and class), optionally group and split. Separators are commas, semicolons
    and tabs, the encoding is UTF-8, with a byte order mark or without. Refused are paths that are absolute or leave the
    folder, files that are not there or listed twice, rows without a label, and a class in two groups or splits.
    """
    found: dict[str, Found] = {}
    of_class: dict[str, dict[str, str]] = {"group": {}, "split": {}}
    wrong: list[str] = []
    for table in tables:
        for number, row in _rows(table):
            where = f"{table}, line {number}"
            if reason := _objection(row, folder):
                wrong.append(f"{where}: {reason}")
                continue
            name, label = unicodedata.normalize("NFC", row["path"]), unicodedata.normalize("NFC", row["label"])
            if name in found:
                wrong.append(f"{where}: {name} is listed twice; an image has one class: remove a row")
            found[name] = Found(label, name, folder / row["path"])
            for column, known in of_class.items():
                value = row.get(column, "")
                if value and known.setdefault(label, value) != value:
                    wrong.append(f"{where}: class {label} is in two {column}s, {known[label]} and {value}; give it one")
    refuse(wrong)
    splits = {label: _split(label, value) for label, value in of_class["split"].items()}
    return sorted(found.values()), of_class["group"], splits


def _split(label: str, value: str) -> str:
    split = _OF_SPLIT.get(value.lower(), value.lower())
    if split not in SPLITS:
        raise unknown(f"split of class {label}", value, SPLITS)
    return split


def _objection(row: Row, folder: Path) -> str:
    """The reason why a row can't be taken; empty if it can."""
    path, label = row.get("path", ""), row.get("label", "")
    if not path:
        return "it names no file"
    if not label:
        return f"{path} has no label; give it one, or remove the row"
    if Path(path).is_absolute():
        return f"{path} is an absolute path; write it relative to {folder}, so that the table may move"
    if reason := objection_to_name(path):
        return f"{path!r} is refused: {reason}"
    if reason := objection_to_class(label):
        return f"label {label!r} {reason}"
    if Path(path).suffix.lower() not in IMAGES:
        return f"{path} is not an image file ({', '.join(IMAGES)})"
    if not (folder / path).is_file():
        return f"{path} does not exist in {folder}; correct the path or remove the row"
    return ""


def _rows(table: Path) -> Iterator[tuple[int, Row]]:
    """The line number and values of each row, by the names of the columns of this module."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{table} is not UTF-8 (byte {error.start}: {table.read_bytes()[error.start : error.start + 1]!r}); save "
            "it as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{table} can't be read ({error.strerror}); make it readable") from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        header = _header(table, next(reader, []))
        for values in reader:
            if any(value.strip() for value in values):
                row = {name: values[at].strip() for name, at in header.items() if at < len(values)}
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{table}, line {reader.line_num}: {error}; save it as a plain CSV file") from None


def _header(table: Path, names: list[str]) -> dict[str, int]:
    """Column -> its place. DataError for a table without the columns path and label."""
    lowered = [name.strip().lower() for name in names]
    found = {
        column: next(lowered.index(name) for name in known if name in lowered)
        for column, known in _COLUMNS.items()
        if any(name in lowered for name in known)
    }
    if missing := [column for column in ("path", "label") if column not in found]:
        raise DataError(
            f"{table} has no column {' and no column '.join(missing)}; its first line is {', '.join(names)!r}, and has "
            "to name the columns: path,label and, if there are any, group and split"
        )
    return found
