"""The report card: its numbers against a recount, and a page that stands alone."""

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from toy_data import TOY, toy_dataset

from fewshot.data.dataset import Dataset
from fewshot.data.episode_sampler import EpisodeIndices
from fewshot.evaluation.predictions import EpisodePredictions
from fewshot.model import load_model
from fewshot.reporting import measure as measuring
from fewshot.reporting.chart import Line, line_chart
from fewshot.reporting.measure import Measured, measure
from fewshot.reporting.page import render
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.schema import settings_from
from fewshot.training.loop import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return toy_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def measured(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    model = train(settings_from(TOY), dataset, tmp_path_factory.mktemp("trained")).model
    return measure(load_model(model, "cpu"), dataset, 40)


def test_everything_is_measured_as_far_as_the_dataset_goes(measured: Measured) -> None:
    assert list(measured.grid) == ["3w1s", "3w2s"]
    assert [shot for shot, _ in measured.learning] == [1, 2, 3, 5], "of 8 images three are left as queries"
    assert all(score.episodes == 40 for _, score in measured.learning)
    assert sum(measured.calibration.predictions) == 40 * 3 * 4
    assert 0 <= measured.calibration.error <= 1
    assert measured.latency_ms > 0
    assert measured.parameters > 0
    accuracies = [score.accuracy for _, score in measured.groups]
    assert accuracies == sorted(accuracies)


def test_groups_and_confusions_by_hand(dataset: Dataset) -> None:
    # Two episodes of the test classes 0, 1 and 2; in both, half of class 0 is taken for class 1.
    classes = np.array([[0, 1, 2], [2, 0, 1], [0, 1, 2]])
    drawn = EpisodeIndices(EpisodeShape(3, 1, 2), np.zeros((3, 3, 3), np.int64), np.zeros((3, 3), np.int8), classes)
    predicted = np.broadcast_to(np.arange(3)[:, None], (3, 3, 2)).copy()
    predicted[0, 0, 1], predicted[1, 1, 1], predicted[2, 0, 1] = 1, 2, 1
    answers = EpisodePredictions(predicted, np.full(predicted.shape, 0.5, np.float32))
    groups = dict(measuring._by_group(dataset, drawn, answers))
    of_class = dict(zip((0, 1, 2), (0.5, 1.0, 1.0), strict=True))
    names = dataset.groups("test")
    for name, score in groups.items():
        mine = [of_class[place] for place in range(3) if names[place] == name]
        assert score.accuracy == pytest.approx(np.mean(mine))
    answered = answers.classes(drawn)
    assert measuring._confused(0, drawn, answered) == (1, 0.5)
    assert measuring._confused(1, drawn, answered) == (1, 0.0)


class Reader(HTMLParser):
    """Which elements are open, what they refer to, and their text."""

    VOID = ("meta", "img", "line", "circle", "polyline", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]
        if (tag == "img" and not found.get("alt")) or (tag == "svg" and not found.get("aria-label")):
            self.unnamed.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone_is_well_formed_and_names_its_pictures(measured: Measured) -> None:
    history = [{"step": 5, "accuracy": 0.5}, {"step": 10, "accuracy": 0.7, "val_accuracy": 0.6, "val_ci95": 0.1}]
    page = render(
        "a <model> version 3", measured, history, [("git commit", "abc"), ("data", "<b>")], "fewshot verify m/3"
    )
    reader = Reader()
    reader.feed(page.replace("<!doctype html>", ""))
    assert reader.open == []
    assert reader.unnamed == []
    assert reader.headings[0] == "h1"
    assert set(reader.headings[1:]) == {"h2"}
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"https?://|<script|@import|url\(", page)
    assert "a &lt;model&gt; version 3" in page
    assert "<b>" not in page
    assert "fewshot verify m/3" in page
    for score in measured.grid.values():
        assert f"{100 * score.accuracy:.2f} ± {100 * score.ci95:.2f}" in page


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
CHECK = """
axe.run().then(found => {
  const violations = found.violations.map(one => one.id + ": " + one.nodes.map(node => node.html).join(" "));
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify({passes: found.passes.length, violations});
});
"""


@pytest.mark.skipif(not BROWSER, reason="no chromium here to show the page")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing_wrong_with_the_page(measured: Measured, tmp_path: Path, scheme: str, width: int) -> None:
    import axe_core_python

    history = [{"step": 5, "accuracy": 0.5}, {"step": 10, "accuracy": 0.7, "val_accuracy": 0.6, "val_ci95": 0.1}]
    page = render("model version 3", measured, history, [("git commit", "abc")], "fewshot verify m/3")
    script = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    file = tmp_path / "page.html"
    file.write_text(
        page.replace("</body>", f"<script>{script}</script><script>{CHECK}</script></body>"), encoding="utf-8"
    )
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--window-size={width},900",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'browser'}",
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}", "--virtual-time-budget=20000",
            "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},  # browsers write into the home folder
    )  # fmt: skip
    found = json.loads(html.unescape(re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[0]))
    assert found["violations"] == []
    assert found["passes"] > 10


def test_a_chart_spans_its_points_and_their_intervals() -> None:
    chart = line_chart("t", "x", "y", [Line("one", [(0.0, 0.0, 0.0), (10.0, 50.0, 10.0)])])
    heights = [float(y) for y in re.findall(r'y[12]="([\d.]+)"', chart)]
    assert min(heights) >= 0
    assert max(heights) <= 300
    # The point of height 50 with half width 10 is drawn from 40 to 60.
    [(low, high)] = re.findall(r'class="line0" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', chart)
    assert float(low) > float(high)


def test_a_chart_of_one_height_has_room() -> None:
    assert "nan" not in line_chart("t", "x", "y", [Line("", [(1.0, 5.0, 0.0), (1.0, 5.0, 0.0)])])
