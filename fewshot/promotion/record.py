"""The decision on a version, as it is stored with the version and shown."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from fewshot.errors import RegistryError
from fewshot.system.text import in_markdown
from fewshot.tracking.versions import VERDICT, Version


@dataclass(frozen=True)
class PromotionRecord:
    """The decision on a version, as it is stored."""

    model: str
    version: str
    """The challenger's."""
    against: str
    """The champion's version at that time; empty if there was none."""
    decision: str
    """promoted, kept, or first (there was no champion to compare with)."""
    reason: str
    time: str
    """UTC, ISO 8601."""
    question: str
    """Digest of what was asked: the data and the gate's settings."""
    on: str = ""
    """The gate episodes: "omniglot/5w1s15q"."""
    left_out: tuple[str, ...] = ()
    """Classes of the gate that one of the two had been trained on."""
    verdict: dict[str, Any] | None = None
    """The numbers of `fewshot.promotion.gate.GateResult`."""
    costs: dict[str, float] | None = None
    """The challenger's, of `fewshot.promotion.gate.Costs`."""


def promotion_record(version: Version) -> PromotionRecord | None:
    """The decision on a version; None if it was not compared yet. RegistryError if the tag holds something else."""
    values = version.promotion_record()
    if values is None:
        return None
    try:
        record = TypeAdapter(PromotionRecord).validate_python(values)
        markdown(record)  # reads every number
    except (ValueError, TypeError, LookupError):
        raise RegistryError(
            f"the tag {VERDICT} of {version.uri} holds no decision; restore it, or delete it: the next "
            "fewshot retrain compares the version again"
        ) from None
    return record


def markdown(record: PromotionRecord) -> str:
    """The record as Markdown."""
    against = f"version {in_markdown(record.against)}" if record.against else "nobody"
    lines = [
        f"# {in_markdown(record.model)} version {in_markdown(record.version)}: {in_markdown(record.decision)}",
        f"Against {against}, {record.time}: {in_markdown(record.reason)}.",
    ]
    if record.verdict is not None and record.costs is not None:
        scores = {name: record.verdict[name] for name in ("champion", "challenger", "difference")}
        lines += ["", f"| on {in_markdown(record.on)} | accuracy ± 95 % interval |", "|---|---|"]
        lines += [f"| {name} | {100 * s['accuracy']:.2f} ± {100 * s['ci95']:.2f} % |" for name, s in scores.items()]
        lines += [
            "",
            f"p = {record.verdict['p']:.2g}, level spent {record.verdict['level']:.2g}. The challenger's expected "
            f"calibration error is {record.costs['calibration_error']:.3f}; it learns a task and answers in "
            f"{record.costs['latency_ms']:.1f} ms.",
        ]
    if record.left_out:
        names = ", ".join(map(in_markdown, record.left_out))
        lines += ["", f"Left out, because one of the two was trained on them: {names}."]
    return "\n".join(lines) + "\n"
