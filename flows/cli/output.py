"""Everything that the commands of the flows print: steps, results, what to type next."""

import logging
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status

from fewshot.cli.console import command_name, make_console, make_table, styled
from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from flows.servers.guard import ENTER
from flows.servers.mlflow_server import mlflow_address
from flows.steps import LABEL, Remark, ReportHandler, StepDone, Waiting
from flows.summary import in_words, percent

if TYPE_CHECKING:
    from flows.cleaning.clean import Cleaned
    from flows.dvc.adding import Added
    from flows.servers.schedule import Schedule
    from flows.why import Verdict


def heading(run_name: str, preset: str) -> None:
    """Print what is about to run."""
    make_console().print(styled(run_name, "bold"), f"(preset {preset})")


class Reports(ReportHandler):
    """Shows what flows report: finished steps on standard output, remarks and a spinner on standard error."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._status: Status | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show one report."""
        report = getattr(record, "report", None)
        if isinstance(report, StepDone):
            _step(report)
        elif isinstance(report, Remark):
            make_console(to_errors=True).print(str(report))
        elif isinstance(report, Waiting):
            self._spin(report.text)

    def _spin(self, text: str) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        console = Console(stderr=True)
        if text and console.is_terminal:
            self._status = console.status(text)
            self._status.start()


def _step(done: StepDone) -> None:
    colour, word = ("cyan", "cached") if done.cached else ("green", "ran")
    make_console().print(f"  {done.label:{LABEL}}", styled(f"{word:7}", colour), f"{done.seconds:7.1f} s")


def addresses(home: Home, mlflow_port: int, prefect_port: int) -> None:
    """Print the addresses of the two pages; that of Prefect's with its key on a terminal, never into a file."""
    mlflow = mlflow_address(home.tracking_uri, mlflow_port)
    print(f'MLflow   {mlflow}   (the link "Model training" shows runs and model versions)')
    page = f"http://127.0.0.1:{prefect_port}"
    if sys.stdout.isatty():
        print(f"Prefect  {page}{ENTER}#{server_key(home)}")
    else:
        print(f"Prefect  {page}   (it asks for a password: the line in {home.prefect / 'api-key'})")
    print("Ctrl-C stops both", flush=True)


def verdicts(found: "list[Verdict]") -> None:
    """Print what makes each step stale."""
    console = make_console()
    for verdict in found:
        colour, word = ("yellow", "stale") if verdict.reasons else ("green", "up to date")
        kept = "; a stored result of an earlier run fits and will be taken" if verdict.stored else ""
        console.print(f"  {verdict.label:{LABEL}}", styled(word, colour) + kept)
        for reason in verdict.reasons:
            console.print(f"  {'':{LABEL}}   {reason}")


def results(summary: dict[str, Any]) -> None:
    """Print the end of a run: every number with its interval, the model version, and what to type next."""
    console = make_console()
    console.print()
    for name, result in summary["results"].items():
        console.print(f"  {in_words(name):42}", styled(percent(result), "bold"))
    aliases = ", ".join(summary["aliases"]) or "no alias"
    console.print(f"\n  model {summary['model']} version {summary['version']} ({aliases})")
    ran = [done["label"] for done in summary["steps"] if not done["cached"]]
    console.print("  everything was cached: nothing changed since an earlier run" if not ran else "")
    command = command_name()
    console.print(
        f"  next: {command} ui                      curves, results and versions in a browser\n"
        f"        {command} classify models:/{summary['model']}/{summary['version']} FOLDER IMAGE\n"
        "                                        your own classes: a folder of images for each\n"
        f"        {command} presets                 other methods and datasets\n"
        f"        {command} run {summary['preset']} --set train.steps=2000",
    )


def outcome(found: dict[str, Any]) -> None:
    """Print how a retraining ended."""
    console = make_console()
    version = f" version {found['version']}" if "version" in found else ""
    console.print("\n ", styled(found["outcome"], "bold") + f": model {found['model']}{version}")
    console.print(f"  {found['reason']}")
    console.print(f"\n  next: {command_name()} history {found['model']}")


def cleaned(found: "list[Cleaned]", dry_run: bool) -> None:
    """Print what is there by kind, and what was removed or would be."""
    gone = "would be removed" if dry_run else "removed"
    table, console = make_table("", "MB there", "MB a retraining", f"MB {gone}", "things"), make_console()
    for one in found:
        each = f"{one.each / 1e6:.2f}" if one.each else ""
        table.add_row(one.kind, f"{one.there / 1e6:.1f}", each, f"{one.removed / 1e6:.1f}", str(one.number or ""))
    there, each, removed = (sum(getattr(one, name) for one in found) for name in ("there", "each", "removed"))
    table.add_row("together", f"{there / 1e6:.1f}", f"{each / 1e6:.2f}", f"{removed / 1e6:.1f}", "")
    console.print(table)
    if each:
        console.print(f"a retraining each night would add {365 * each / 1e9:.2f} GB in a year if nothing were removed")
    if dry_run:
        console.print("nothing was removed; how far Prefect's history shrinks is known afterwards. Next: fewshot clean")


def schedule(chosen: "Schedule") -> None:
    """Print when a preset is retrained, and the command that does it at once."""
    now = shlex.join([command_name(), "retrain", chosen.preset, *(f"--set={one}" for one in chosen.overrides)])
    print(f"retrain {chosen.preset} at {chosen.cron} ({chosen.timezone}); at once: {now}", flush=True)


def added(dataset: "Added") -> None:
    """Print what was declared, what its split makes possible, and what to type next."""
    console, name, found = make_console(), dataset.name, dataset.found
    scheme = next(
        (one if isinstance(one, str) else next(iter(one)) for one in dataset.declaration.splits), "its source's"
    )
    if found is not None:
        classes = {one.class_name for one in found.images}
        console.print(f"{name}: {len(found.images):,} images of {len(classes):,} classes in {dataset.declaration.path}")
    console.print(f"{name} is declared in data/datasets.yaml, split scheme {scheme}")
    if not dataset.is_trainable:
        console.print(
            "all classes are held out for tests: a pretrained encoder learns them from a few images; to train one "
            "on them takes some 50 classes and --splits hash"
        )
    console.print(f"next: {command_name()} data prepare {name}")


def removed(home: Home, name: str) -> None:
    """Print what is left of a dataset that is no longer declared."""
    console, place = make_console(), home.data / name
    console.print(f"{name} is no longer declared in data/datasets.yaml")
    if place.exists():
        console.print(f"its files are still in {place}; delete the folder to free their space")


def variables(values: dict[str, str]) -> None:
    """Print environment variables for a shell."""
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
