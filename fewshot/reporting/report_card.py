"""The report card of a registered version: measured, rendered, written to a file and logged with the version."""

from pathlib import Path

from fewshot.data.dataset import open_dataset
from fewshot.model import describe_model, load_model
from fewshot.promotion.record import promotion_record
from fewshot.reporting.measure import measure
from fewshot.reporting.page import render
from fewshot.system.files import write_bytes
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import find_version


def report_card(store: Store, data: Path, reports: Path, reference: str, out: Path | None, episodes: int) -> Path:
    """Make the card of the version behind `reference`; returns the file, which is `out` or one in `reports`.

    `data` is the folder of the prepared datasets. `episodes` is the number of test episodes of each shape.
    """
    version = find_version(store, reference)
    run = Run(store, version.run_id)
    name = f"{version.model}-{version.number}"
    folder = model_folder(store, version.uri)
    description = describe_model(folder)
    settings, trained_on = description.settings_values, description.data
    dataset = open_dataset(data, trained_on.dataset, trained_on.split_scheme)
    model = load_model(folder, settings["device"], trust_code=True)
    model.compute.prepare()
    measured = measure(model, dataset, episodes)
    page = render(
        f"{version.model} version {version.number}",
        measured,
        run.training_curve(),
        version.links(),
        f"fewshot verify {version.model}/{version.number}",
        promotion_record(version),
    )
    file = out or reports / f"{name}.html"
    write_bytes(file, page.encode())
    run.log_text(f"report/{name}.html", page)
    return file
