"""What a run says on the terminal and in Prefect's page: steps, results, what to type next."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fewshot.cli.console import make_console

if TYPE_CHECKING:
    from fewshot.promotion.champion import PromotionRecord
    from fewshot.tracking.versions import Version
    from flows.why import Verdict

_LABEL = 18


def heading(run_name: str, preset: str) -> None:
    """What is about to run."""
    make_console().print(f"[bold]{run_name}[/] (preset {preset})")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner on a terminal while the block runs; nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def addresses(mlflow_port: int, prefect_port: int) -> None:
    """Where the two pages are."""
    print(f'MLflow   http://127.0.0.1:{mlflow_port}   (the link "Model training" shows runs and model versions)')
    print(f"Prefect  http://127.0.0.1:{prefect_port}")
    print("Ctrl-C stops both", flush=True)


def verdicts(found: "list[Verdict]") -> None:
    """What makes each step stale."""
    console = make_console()
    for verdict in found:
        colour, word = ("yellow", "stale") if verdict.reasons else ("green", "up to date")
        kept = "; a stored result of an earlier run fits and will be taken" if verdict.stored else ""
        console.print(f"  {verdict.label:{_LABEL}} [{colour}]{word}[/]{kept}")
        for reason in verdict.reasons:
            console.print(f"  {'':{_LABEL}}   {reason}", markup=False)


def step(label: str, cached: bool, seconds: float) -> None:
    """One finished step on standard output."""
    colour, word = ("cyan", "cached") if cached else ("green", "ran")
    make_console().print(f"  {label:{_LABEL}} [{colour}]{word:7}[/] {seconds:7.1f} s")


def remark(text: str) -> None:
    """One line that the user should know of, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"note: {text}", markup=False)


def results(summary: dict[str, Any]) -> None:
    """The end of a run: every number with its interval, the model version, and what to type next."""
    console = make_console()
    console.print()
    for name, result in summary["results"].items():
        console.print(f"  {in_words(name):42} [bold]{percent(result)}[/]")
    aliases = ", ".join(summary["aliases"]) or "no alias"
    console.print(f"\n  model {summary['model']} version {summary['version']} ({aliases})")
    ran = [done["label"] for done in summary["steps"] if not done["cached"]]
    console.print("  everything was cached: nothing changed since an earlier run" if not ran else "")
    command = _command()
    console.print(
        f"  next: {command} ui                      curves, results and versions in a browser\n"
        f"        {command} classify models:/{summary['model']}/{summary['version']} FOLDER IMAGE\n"
        "                                        your own classes: a folder of images for each\n"
        f"        {command} presets                 other methods and datasets\n"
        f"        {command} run {summary['preset']} --set train.steps=2000",
        markup=False,
    )


def outcome(found: dict[str, Any]) -> None:
    """How a retraining ended."""
    console = make_console()
    version = f" version {found['version']}" if "version" in found else ""
    console.print(f"\n  [bold]{found['outcome']}[/]: model {found['model']}{version}")
    console.print(f"  {found['reason']}", markup=False)
    console.print(f"\n  next: {_command()} history {found['model']}", markup=False)


def history(model: str, versions: "Sequence[tuple[str, PromotionRecord | None, list[str], str]]") -> None:
    """What was decided on each version."""
    console = make_console()
    console.print(f"[bold]{model}[/]")
    for version, record, aliases, rolled_back in versions:
        decision, when = (record.decision, record.time[:16].replace("T", " ")) if record else ("not judged", "")
        console.print(f"  {version:>3}  [bold]{decision:10}[/] {when:16}  {', '.join(aliases)}".rstrip())
        if record:
            against = f"against version {record.against}: " if record.against else ""
            console.print(f"       {against}{record.reason}", markup=False)
        if rolled_back:
            console.print(f"       rolled back {rolled_back[:16].replace('T', ' ')}", markup=False)
    console.print(f"\ntimes are UTC; back to the champion before: {_command()} rollback {model}", markup=False)


def lineage(version: "Version") -> None:
    """Where a model version comes from, the newest link first."""
    console = make_console()
    for name, text in version.links():
        console.print(f"[bold]{name:11}[/]", end=" ")
        console.print(text, markup=False)
    console.print(f"\nmake it again: {_command()} verify {version.model}/{version.number}", markup=False)


def _command() -> str:
    """How this command was called, so that what is said to type next works: `make` calls it by its relative path."""
    called = sys.argv[0]
    return called if called.endswith("/fewshot") and not called.startswith("/") else "fewshot"


def markdown(summary: dict[str, Any]) -> str:
    """The result as a table for Prefect's page."""
    rows = [
        f"| {in_words(name)} | {percent(result)} | {result['episodes']} |"
        for name, result in summary["results"].items()
    ]
    steps = [
        f"| {done['label']} | {'cached' if done['cached'] else 'ran'} | {done['seconds']:.1f} |"
        for done in summary["steps"]
    ]
    return "\n".join(
        [
            f"# {summary['run_name']}",
            *summary["remarks"],
            f"Model `{summary['model']}` version {summary['version']} ({', '.join(summary['aliases']) or 'no alias'}), "
            f"MLflow run `{summary['run_id']}`",
            "",
            "| test | accuracy ± 95 % interval | episodes |",
            "|---|---|---|",
            *rows,
            "",
            "| step | | seconds |",
            "|---|---|---|",
            *steps,
        ]
    )


def in_words(name: str) -> str:
    """The key of a result as people say it: "omniglot/5w1s" is "omniglot, 5-way 1-shot"."""
    dataset, _, rest = name.partition("/")
    task, _, mode = rest.partition(" ")
    way, _, shot = task.removesuffix("s").partition("w")
    return f"{dataset}, {way}-way {shot}-shot" + (f", {mode}" if mode else "")


def percent(result: dict[str, Any]) -> str:
    """ "95.12 ± 0.31 %" of a result with accuracy and interval in [0, 1]."""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %"
