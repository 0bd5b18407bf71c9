"""Everything that the library's commands print. rich is imported when something is printed."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.system.text import shown

if TYPE_CHECKING:
    from fewshot.backbones.encoder_list import EncoderSummary
    from fewshot.data.dataset import Dataset
    from fewshot.data.duplicates import Pair
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.project.doctor import Finding
    from fewshot.promotion.champion import Told
    from fewshot.reporting.leaderboard import Entry
    from fewshot.tracking.versions import Version
    from fewshot.training.result import TrainResult

LONGEST_LIST = 20
"""Lines of a list that may be long."""
_WIDE = 110
"""Characters of a terminal that has room for addresses in a table."""


def make_console(to_errors: bool = False) -> Any:
    """A console that shows text as it is: brackets and colons are no markup, control characters appear as escapes.

    It breaks no lines and colours nothing by itself. `styled` makes a part bold or coloured.
    """
    from rich.console import Console

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(shown(text, keep="\n"), **options)

    return PlainConsole(stderr=to_errors, highlight=False, soft_wrap=True, markup=False, emoji=False)


def styled(text: object, style: str) -> Any:
    """A part of a line in a style of rich, such as "bold" or "green"."""
    from rich.text import Text

    return Text(shown(str(text)), style)


def make_table(*columns: str) -> Any:
    """A table that breaks long words, as paths are, instead of cutting them off."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in columns), box=SIMPLE_HEAD, pad_edge=False)


def command_name() -> str:
    """The word that called this command, to be typed again: `make` calls it by its relative path."""
    called = sys.argv[0]
    return called if called.endswith("/fewshot") and not called.startswith("/") else "fewshot"


def print_findings(findings: "Sequence[Finding]") -> bool:
    """Print a line for each thing that was looked at; returns whether all is well."""
    console = make_console()
    for finding in findings:
        word = styled("ok    ", "green") if finding.ok else styled("broken", "red")
        console.print(word, f"{finding.subject:14}", finding.text)
    return all(finding.ok for finding in findings)


def print_training(result: "TrainResult") -> None:
    """Print the validation accuracy of a training, what it chose among, and where its model is."""
    from fewshot.training.choices import read_choices

    console, accuracy, ci95 = make_console(), result.best_val_accuracy, result.best_val_ci95
    validated = "not validated (no val classes)"
    if accuracy is not None and ci95 is not None:
        at = f"at step {result.best_step} of {result.steps}" if result.steps else "without a training step"
        validated = f"meta-validation {100 * accuracy:.2f} ± {100 * ci95:.2f} % {at}"
    console.print(f"{validated}, {result.seconds:.1f} s on {result.device} in {result.precision}")
    if choices := read_choices(result.history):
        table = make_table("compared on validation episodes", "accuracy", "behind the best, paired")
        for row in choices:
            behind = f"{100 * row['behind']:.2f} ± {100 * row['behind_ci95']:.2f}" if row["behind"] else ""
            table.add_row(row["name"], f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} %", behind)
        console.print(table)
    console.print(f"model {result.model}\nnext: fewshot evaluate {result.model}")


def print_presets(summaries: Mapping[str, str]) -> None:
    """Print a table of presets: name -> summary."""
    table = make_table("preset", "what it is")
    for name, summary in summaries.items():
        table.add_row(name, summary)
    console = make_console()
    console.print(table)
    console.print("next: fewshot run PRESET")


def print_encoders(encoders: "Sequence[EncoderSummary]", measured_on: str) -> None:
    """Print a table of pretrained encoders, and how to choose one."""
    table = make_table("encoder", "trained on", "licence", "MB", "values", "pixels", "images/s", "weights")
    for encoder in encoders:
        numbers = (f"{encoder.megabytes:.0f}", str(encoder.embedding), str(encoder.side))
        speed, place = f"{encoder.images_per_second:.0f}", "here" if encoder.is_here else "to be fetched"
        table.add_row(encoder.name, encoder.trained_on, encoder.licence, *numbers, speed, place)
    console = make_console()
    console.print(table)
    console.print(f"images/s: {measured_on}")
    console.print("choose one by --set, or another network of timm by its name:")
    for encoder in encoders:
        console.print(f"  {' '.join(encoder.settings)}")


def print_evaluation(evaluation: "Evaluation") -> None:
    """Print each accuracy with its interval."""
    console = make_console()
    for key, result in evaluation.results.items():
        console.print(f"{key:36} {result}  ({result.episodes} episodes)")
    console.print(f"written to {evaluation.file}")


def print_classes(classified: Iterable[tuple[Path, str, float]]) -> None:
    """Print a table of images: file, class, probability."""
    table = make_table("image", "class", "probability")
    for file, name, probability in classified:
        table.add_row(str(file), name, f"{100 * probability:.1f} %")
    make_console().print(table)


def print_leaderboard(task: str, entries: "Sequence[Entry]", chart: Path) -> None:
    """Print the ranks of models on one task, and the file of its chart."""
    table, console = make_table("rank", "model", "method", task, "behind the best"), make_console()
    for entry in entries:
        behind = "" if entry.behind.accuracy == 0 else str(entry.behind)
        table.add_row(str(entry.rank), entry.name, entry.method, str(entry.score), behind)
    console.print(table)
    console.print(f"chart {chart}")


def print_logged(run_id: str) -> None:
    """Print where a leaderboard was logged."""
    text = f"logged as run {run_id} of the MLflow experiment leaderboard; see it: fewshot ui"
    make_console().print(text)


def print_datasets(rows: "Iterable[tuple[str, str, int, int, int, str, str]]") -> None:
    """Print a table of datasets: name, state, classes, images, bytes on disk, licence, home page."""
    console = make_console()
    is_wide = console.width >= _WIDE
    table = make_table("dataset", "state", "classes", "images", "MB", "licence", *(["home"] if is_wide else []))
    for name, state, classes, images, size, licence, home in rows:
        numbers = [f"{number:,}" if number else "" for number in (classes, images)]
        last = [licence, home] if is_wide else [licence]
        table.add_row(name, state, *numbers, f"{size / 1e6:,.1f}" if size else "", *last)
    console.print(table)
    console.print(
        "catalogue: not in this project yet; numbers are those of its page. next: fewshot data add NAME [PATH]; "
        "fewshot data prepare NAME"
    )


def print_dataset(name: str, dataset: "Dataset", originals: Mapping[str, Any], home: str) -> None:
    """Print the splits of a dataset: classes and images of each, the images as they came, digests, its home page."""
    from fewshot.settings.declarations import SPLITS

    table = make_table("split", "classes", "images", "of a class", "first classes")
    for split in SPLITS:
        if dataset.scheme.splits.get(split):
            names, count = dataset.class_names(split), dataset.class_table(split).count
            each = f"{count.min()}" if count.min() == count.max() else f"{count.min()} to {count.max()}"
            table.add_row(split, f"{len(names):,}", f"{count.sum():,}", each, ", ".join(names[:3]))
    shape = tuple(dataset.pack.images.shape[1:])
    console = make_console()
    console.print(f"{name}, split scheme {dataset.scheme.name}: images of (channel, height, width) = {shape}")
    console.print(table)
    if originals:
        modes = ", ".join(f"{mode} {number:,}" for mode, number in originals["modes"].items())
        sizes = sorted(originals["sizes"], key=lambda one: -one[2])
        common = ", ".join(f"{width}x{height} {number:,}" for width, height, number in sizes[:3])
        more = f" and {len(sizes) - 3:,} more sizes" if len(sizes) > 3 else ""
        console.print(f"as they came: {modes}; {common}{more}")
    console.print(f"home {home}\ndigest {dataset.digest}\nfixed episodes {dataset.scheme.episodes_digest}")


def print_sheet(split: str, file: Path) -> None:
    """Print the place of the contact sheet of a split."""
    make_console().print(f"contact sheet of {split}: {file}")


def print_duplicates(pairs: "Sequence[tuple[Pair, str, str]]") -> None:
    """Print the images that are nearly the same in two splits."""
    console = make_console()
    if not pairs:
        console.print("no two images of different splits are nearly the same")
        return
    table = make_table("split", "image", "split", "nearly the same image")
    for pair, source, other in pairs[:LONGEST_LIST]:
        table.add_row(pair.split, source, pair.other_split, other)
    console.print(table)
    more = f", of which the first {LONGEST_LIST} are listed" if len(pairs) > LONGEST_LIST else ""
    number = "1 pair" if len(pairs) == 1 else f"{len(pairs):,} pairs"
    console.print(f"nearly the same in two splits: {number} of images{more}")


def print_rollback(model: str, taken_back: str, champion: str) -> None:
    """Print which version is the champion after a rollback."""
    text = f"{model}: version {champion} is the champion again, version {taken_back or 'none'} is not"
    make_console().print(text)


def print_history(model: str, versions: "Sequence[Told]") -> None:
    """Print the decision on each version."""
    console = make_console()
    console.print(styled(model, "bold"))
    for version, record, aliases, rolled_back, restored in versions:
        decision, when = (record.decision, _minute(record.time)) if record else ("not judged", "")
        named = f"{when:16}  {', '.join(aliases)}".rstrip()
        console.print(f"  {version:>3} ", styled(f"{decision:10}", "bold"), named)
        if record:
            against = f"against version {record.against}: " if record.against else ""
            console.print(f"       {against}{record.reason}")
        if rolled_back:
            again = f", made the champion again {_minute(restored)}" if restored else ""
            console.print(f"       rolled back {_minute(rolled_back)}{again}")
    console.print(f"\ntimes are UTC; back to the champion before: {command_name()} rollback {model}")


def print_lineage(version: "Version") -> None:
    """Print the origin of a model version, the newest link first."""
    console = make_console()
    for name, text in version.links():
        console.print(styled(f"{name:11}", "bold"), text)
    console.print(f"\nmake it again: {command_name()} verify {version.model}/{version.number}")


def print_report(file: Path) -> None:
    """Print where a report card was written."""
    make_console().print(f"wrote {file}; open it in a browser")


def print_note(text: str) -> None:
    """Print to standard error what the user should know of."""
    make_console(to_errors=True).print(f"note: {text}")


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
