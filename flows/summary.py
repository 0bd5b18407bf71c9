"""The results of a run in words, and as a table for Prefect's page."""

from typing import Any

from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.text import in_markdown


def markdown(summary: dict[str, Any]) -> str:
    """The result as a table for Prefect's page."""
    rows = [
        f"| {in_markdown(in_words(name))} | {percent(result)} | {result['episodes']} |"
        for name, result in summary["results"].items()
    ]
    steps = [
        f"| {done['label']} | {'cached' if done['cached'] else 'ran'} | {done['seconds']:.1f} |"
        for done in summary["steps"]
    ]
    aliases = ", ".join(summary["aliases"]) or "no alias"
    return "\n".join(
        [
            f"# {in_markdown(summary['run_name'])}",
            *map(in_markdown, summary["remarks"]),
            f"Model {in_markdown(summary['model'])} version {summary['version']} ({aliases}), "
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
    shape = EpisodeShape.parse(task)
    queries = f", {shape.query} queries" if task.endswith("q") else ""
    return f"{dataset}, {shape.way}-way {shape.shot}-shot{queries}" + (f", {mode}" if mode else "")


def percent(result: dict[str, Any]) -> str:
    """ "95.12 ± 0.31 %" of a result with accuracy and interval in [0, 1]."""
    return f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %"
