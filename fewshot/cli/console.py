"""Everything that the library's commands print. rich is imported when something is printed."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.system.text import shown

if TYPE_CHECKING:
    from fewshot.data.dataset import Dataset
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.project.doctor import Finding
    from fewshot.promotion.champion import Told
    from fewshot.reporting.leaderboard import Entry
    from fewshot.tracking.versions import Version
    from fewshot.training.result import TrainResult


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
    """Print the validation accuracy of a training, and where its model is."""
    console, accuracy, ci95 = make_console(), result.best_val_accuracy, result.best_val_ci95
    validated = "not validated (no val classes)"
    if accuracy is not None and ci95 is not None:
        at = f"at step {result.best_step} of {result.steps}" if result.steps else "without a training step"
        validated = f"meta-validation {100 * accuracy:.2f} ± {100 * ci95:.2f} % {at}"
    console.print(f"{validated}, {result.seconds:.1f} s on {result.device} in {result.precision}")
    console.print(f"model {result.model}\nnext: fewshot evaluate {result.model}")


def print_presets(summaries: Mapping[str, str]) -> None:
    """Print a table of presets: name -> summary."""
    table = make_table("preset", "what it is")
    for name, summary in summaries.items():
        table.add_row(name, summary)
    console = make_console()
    console.print(table)
    console.print("next: fewshot run PRESET")


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


def print_datasets(rows: Iterable[Sequence[str]]) -> None:
    """Print a table of datasets: name, split schemes, images, classes, state."""
    table = make_table("dataset", "splits (first: default)", "images", "classes", "state")
    for row in rows:
        table.add_row(*row)
    make_console().print(table)


def print_dataset(name: str, dataset: "Dataset") -> None:
    """Print the splits of a dataset: classes and images of each, image size, digests."""
    from fewshot.data.splits import SPLITS

    table = make_table("part", "classes", "images", "first classes")
    for part in SPLITS:
        if dataset.scheme.splits.get(part):
            names = dataset.class_names(part)
            table.add_row(part, str(len(names)), str(int(dataset.class_table(part).count.sum())), ", ".join(names[:3]))
    shape = tuple(dataset.pack.images.shape[1:])
    console = make_console()
    console.print(f"{name}, split {dataset.scheme.name}: images of (channel, height, width) = {shape}")
    console.print(table)
    console.print(f"digest {dataset.digest}\nfixed episodes {dataset.scheme.episodes_digest}")


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
