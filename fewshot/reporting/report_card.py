"""The report card of a registered version: measured, rendered, written to a file and logged with the version."""

from pathlib import Path

from fewshot.data.dataset import open_dataset
from fewshot.model import describe_model, load_model
from fewshot.project.paths import Home
from fewshot.promotion.champion import promotion_record_in
from fewshot.reporting.measure import measure
from fewshot.reporting.page import render
from fewshot.system.files import write_bytes
from fewshot.tracking.runs import training_curve
from fewshot.tracking.store import connect, mlflow_errors
from fewshot.tracking.versions import describe_version, model_folder


def report_card(home: Home, reference: str, out: Path | None, episodes: int) -> Path:
    """Make the card of the version behind `reference`; returns the file."""
    version = describe_version(home, reference)
    name = f"{version.model}-{version.number}"
    folder = model_folder(home, f"models:/{version.model}/{version.number}")
    description = describe_model(folder)
    settings, data = description.settings_values, description.data
    dataset = open_dataset(home.data, data.dataset, data.split_scheme)
    model = load_model(folder, settings["device"])
    model.compute.prepare()
    measured = measure(model, dataset, episodes)
    page = render(
        f"{version.model} version {version.number}",
        measured,
        training_curve(home, version.run_id),
        version.links(),
        f"fewshot verify {version.model}/{version.number}",
        promotion_record_in(version.tags),
    )
    file = out or home.state / "reports" / f"{name}.html"
    write_bytes(file, page.encode())
    client = connect(home)
    with mlflow_errors(home):
        client.log_text(version.run_id, page, f"report/{name}.html")
    return file
