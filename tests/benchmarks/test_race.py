"""The race's arithmetic and turns, with contestants that only pretend; then that the real ones compute the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from benchmarks.speed import guard, machine, race
from benchmarks.speed.cases import CASES, MODULES, OURS, OURS_FLOAT32, PLAIN, Case, Target
from benchmarks.speed.chart import draw_chart
from benchmarks.speed.contest import (
    ContestantFailedError,
    DisagreementError,
    LossAndAccuracy,
    compare,
    pieces,
    run_case,
    thread_counts,
    tune,
)
from benchmarks.speed.contestants import build
from benchmarks.speed.inputs import make_tasks
from benchmarks.speed.ours import OursStep
from benchmarks.speed.paired import Ratio, paired_ratio, percentile
from benchmarks.speed.process import WorkerProcess
from benchmarks.speed.reference import PlainMAMLStep
from benchmarks.speed.report import record, targets_table, times_table
from fewshot.data.batches import EpisodeBatch

CASE = replace(CASES["maml-strided"], rounds=6, contestants=(OURS, OURS_FLOAT32, "torchopt", "higher"))
NUMBERS = {"loss": 1.0, "gradient norm": 2.0}
RATES = {
    "auto": "bfloat16",
    "matrix product": {"float32": 100.0, "bfloat16": 400.0},
    "convolution": {"float32": 200.0, "bfloat16": 500.0},
    "operations of a task": {"maml-strided": 10**9},
}
SECONDS = {OURS: 0.1, OURS_FLOAT32: 0.2, "torchopt": 0.3, "higher": 0.4}


class Pretender:
    """A worker that says how long it took instead of taking it."""

    def __init__(self, name: str, seconds: float, log: list[str], numbers: dict[str, float] = NUMBERS) -> None:
        self.name, self.seconds, self.log, self.numbers = name, seconds, log, numbers

    def check(self) -> dict[str, float]:
        self.log.append(f"check {self.name}")
        return self.numbers

    def step(self, times: int) -> list[float]:
        self.log.append(f"step {self.name}")
        return [self.seconds] * times

    def close(self) -> None:
        self.log.append(f"close {self.name}")


def pretend(log: list[str]) -> Callable[[str, str, int, bool], Pretender]:
    """Starts workers that take SECONDS; two threads are half as fast as one."""
    return lambda name, variant, threads, tuning: Pretender(name, SECONDS[name] * threads, log)


def silent(text: str) -> None:
    """Reports nothing."""


def test_a_ratio_is_taken_pair_by_pair() -> None:
    slow_machine = [1.0, 1.0, 10.0]
    ratio = paired_ratio(slow_machine, [3.0, 2.0, 40.0])
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 4.0)
    assert ratio.coverage == pytest.approx(0.75)  # 1 - 2 / 2^3
    assert str(ratio) == "3.00 [2.00, 4.00]"


@pytest.mark.parametrize(
    ("pairs", "left_out", "coverage"),
    [(1, 0, 0.0), (5, 0, 0.9375), (6, 0, 0.96875), (8, 0, 0.9921875), (9, 1, 0.9609375), (12, 2, 0.96142578125)],
)
def test_the_interval_leaves_out_as_much_as_the_binomial_law_allows(pairs: int, left_out: int, coverage: float) -> None:
    ratio = paired_ratio([1.0] * pairs, [float(1 + place) for place in range(pairs)])
    assert (ratio.low, ratio.high) == (1 + left_out, pairs - left_out)
    assert ratio.coverage == pytest.approx(coverage)


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    numbers = np.random.default_rng(0)
    ratios = [paired_ratio([1.0] * 9, numbers.lognormal(0, 1, 9).tolist()) for _ in range(2000)]
    covered = np.mean([ratio.low <= 1 <= ratio.high for ratio in ratios])
    assert covered == pytest.approx(0.9609, abs=0.015)  # 3.5 standard errors


def test_unequal_numbers_of_times_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 times can't be paired"):
        paired_ratio([1.0, 2.0], [1.0])


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]


def test_thread_counts_are_powers_of_two_and_all_cores() -> None:
    assert [thread_counts(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_tuning_takes_the_fastest_way_and_ends_every_worker() -> None:
    log: list[str] = []
    seconds = {("sequential", 1): 4.0, ("sequential", 2): 3.0, ("vmap-1", 1): 2.0, ("vmap-1", 2): 9.0}

    def start(name: str, variant: str, threads: int, tuning: bool) -> Pretender:
        if (variant, threads) not in seconds:
            raise ContestantFailedError(f"{variant} needs too much memory")
        return Pretender(variant, seconds[variant, threads], log)

    choice = tune(CASES["maml-strided"], "parallel-metalearn", [1, 2], start, silent)
    assert (choice.variant, choice.threads) == ("vmap-1", 1)
    assert log.count("close vmap-1") == log.count("close sequential") == 2
    assert log.count("step vmap-1") == 3  # the second way was given up after its first step
    assert next(way for way in choice.tried if "failed" in way)["failed"] == "vmap-4 needs too much memory"


def test_a_contestant_that_never_works_fails_with_its_reasons() -> None:
    def start(name: str, variant: str, threads: int, tuning: bool) -> Pretender:
        raise ContestantFailedError(f"{threads} is too many")

    with pytest.raises(ContestantFailedError, match="1 is too many; 2 is too many"):
        tune(CASE, OURS, [1, 2], start, silent)


def test_contestants_take_turns_after_their_numbers_were_compared() -> None:
    log: list[str] = []
    said: list[str] = []
    outcome = run_case(CASE, 2, pretend(log), said.append)
    turns = [f"step {name}" for name in CASE.contestants]
    race_begins = max(place for place, event in enumerate(log) if event.startswith("check")) + 1
    assert log[race_begins : race_begins + 7 * 4] == turns * 7  # one warm-up and six rounds
    assert [event for event in log[race_begins + 28 :] if not event.startswith("close")] == []
    assert {name: choice.threads for name, choice in outcome.choices.items()} == dict.fromkeys(CASE.contestants, 1)
    assert len(said) == pieces(CASE, 2)


def test_a_peer_that_computes_something_else_is_not_raced() -> None:
    numbers = {OURS: NUMBERS, OURS_FLOAT32: NUMBERS, "higher": {"loss": 1.0, "gradient norm": 2.0 * 1.02}}
    with pytest.raises(DisagreementError, match=r"higher's gradient norm is 2.04, that of ours-float32 is 2"):
        compare(CASE, numbers)
    with pytest.raises(DisagreementError, match="loss"):
        compare(CASE, {**numbers, "higher": {**NUMBERS, "loss": float("nan")}})


def test_rounding_is_no_disagreement_and_low_precision_is_not_held_to_it() -> None:
    rounded = {"loss": 1 + 5e-6, "gradient norm": 2 + 5e-4}
    compare(CASE, {OURS: {"loss": 1.02, "gradient norm": 1.9}, OURS_FLOAT32: NUMBERS, "higher": rounded})


def outcome_of(case: Case = CASE) -> LossAndAccuracy:
    return run_case(case, 1, pretend([]), silent)


def test_a_record_names_the_best_peer_and_judges_targets_by_the_whole_interval() -> None:
    case = replace(CASE, targets=(Target("ratio", 2.5), Target("ratio", 3.5), Target("p50_ms", 150)))
    found = record(case, outcome_of(case), RATES)
    assert found["best peer"] == "torchopt"
    assert [one["met"] for one in found["targets"]] == [True, False, True]
    assert found["targets"][0] == {
        "target": ">= 2.5x the best peer",
        "reached": "3.00 [3.00, 3.00]",
        "met": True,
    }
    assert found["times as long as ours"]["higher"][OURS_FLOAT32]["median"] == pytest.approx(2)


def test_a_median_above_the_target_is_not_enough() -> None:
    outcome = outcome_of()
    wide = replace(outcome, seconds={**outcome.seconds, "torchopt": [0.2, 0.3, 0.3, 0.3, 0.3, 0.3]})
    assert record(CASE, wide, RATES)["targets"][0]["met"] is False


def test_shares_are_operations_over_time_over_the_rate_of_the_format() -> None:
    ours = record(CASE, outcome_of(), RATES)["contestants"]
    assert ours[OURS]["GFLOP/s"] == pytest.approx(32 / 0.1)
    assert ours[OURS]["share of the matrix product"] == pytest.approx(320 / 400)
    assert ours[OURS_FLOAT32]["share of the convolution"] == pytest.approx(160 / 200)
    assert "GFLOP/s" not in ours["higher"]


def test_tables_and_chart_show_what_was_raced_and_what_was_not(tmp_path: Path) -> None:
    found = record(CASE, outcome_of(), RATES)
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    skipped = {"case": "from-disk", "what": "", "skipped": "no Omniglot"}
    console.print(times_table(found), targets_table([found, skipped]))
    console.file.close()
    text = console.export_text()
    assert "3.00 [3.00, 3.00]" in text
    assert "320, 64% of a bfloat16 convolution's rate" in text
    assert "intervals cover 97 % or more" in text
    assert "skipped" in text
    draw_chart([found, skipped], "a title", tmp_path / "race.png")
    with Image.open(tmp_path / "race.png") as picture:
        assert picture.width > 500


def test_the_whole_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(race, "wait_until_quiet", lambda: 0.9)
    monkeypatch.setattr(race, "_machine_rates", lambda: RATES)
    monkeypatch.setattr(race, "find_spec", lambda module: module)
    monkeypatch.setitem(SECONDS, "parallel-metalearn", 0.5)

    def worker(arguments: list[str], threads: int) -> Pretender:
        return Pretender(arguments[1], SECONDS[arguments[1]] * threads, [])

    monkeypatch.setattr(race, "WorkerProcess", worker)
    assert race.main(["--quick", "--rounds", "2", "--cases", "maml-strided", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "race.json").read_text())
    assert result["command"].startswith("python -m benchmarks.speed.race --quick --rounds 2")
    assert result["machine"]["quiet"] is False
    assert result["cases"][0]["rounds"] == 2
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (tmp_path / "race.png").exists()
    assert "The machine is busy" in capsys.readouterr().out


def test_a_failed_case_is_said_and_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "wait_until_quiet", lambda: 0.0)
    monkeypatch.setattr(race, "_machine_rates", lambda: RATES)
    monkeypatch.setattr(race, "find_spec", lambda module: module)

    def worker(arguments: list[str], threads: int) -> Pretender:
        raise ContestantFailedError("it broke")

    monkeypatch.setattr(race, "WorkerProcess", worker)
    assert race.main(["--quick", "--cases", "latency-maml"]) == 1


def test_without_the_peers_it_says_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "find_spec", lambda module: None)
    with pytest.raises(SystemExit, match="higher can't be imported; make race installs what the race needs"):
        race.main(["--cases", "latency-maml"])


def test_without_omniglot_the_case_from_disk_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(race, "archives", lambda: None)
    found = race._race(CASES["from-disk"], False, tmp_path, {}, Console())
    assert found["skipped"] == "Omniglot is not here; fewshot data prepare omniglot fetches it"


def test_the_load_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([0.9, 0.6, 0.2])
    monkeypatch.setattr(machine, "load_per_core", lambda: next(loads))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    assert machine.wait_until_quiet() == 0.2


def test_a_worker_answers_line_by_line() -> None:
    worker = WorkerProcess(["latency-maml", "ours", "1", "", "--quick"], 1)
    try:
        assert sum(worker.check().values()) == pytest.approx(1, abs=1e-5)
        assert len(worker.step(2)) == 2
        assert min(worker.step(1)) > 0
    finally:
        worker.close()


def test_a_worker_that_dies_is_quoted() -> None:
    with pytest.raises(
        ContestantFailedError, match=r"ended with exit code 2; its last words: .*invalid choice: 'no-case'"
    ):
        WorkerProcess(["no-case", "ours", "1"], 1)


def test_labels_follow_the_images() -> None:
    tasks = make_tasks(replace(CASES["protonet-20w5s5q"], tasks=2))
    assert tasks.support_labels.shape == (2, 100)
    assert tasks.query_labels[1, :6].tolist() == [0, 0, 0, 0, 0, 1]


PAIRS = [
    pytest.param(name, peer, id=f"{name} {peer}")
    for name, case in CASES.items()
    if case.kind != "disk"
    for peer in case.peers
]


@pytest.mark.parametrize(("name", "peer"), PAIRS)
@pytest.mark.filterwarnings("ignore")  # of the peers, with which we have no quarrel here
def test_the_peers_compute_what_we_compute(name: str, peer: str, tmp_path: Path) -> None:
    pytest.importorskip(MODULES[peer], reason=f"{peer} is not installed; make race installs it")
    case = replace(CASES[name], tasks=2 if CASES[name].kind.startswith("maml") else 1)
    numbers = {case.reference: build(case, case.reference, "", tmp_path).check()}
    for variant in case.variants(peer):
        contestant = build(case, peer, variant, tmp_path)
        compare(case, {**numbers, peer: contestant.check()})
        contestant.step()


def test_the_plain_reference_computes_what_we_compute() -> None:
    for name in guard.EXPECTED:
        case = replace(CASES[name], tasks=min(2, CASES[name].tasks), contestants=(OURS_FLOAT32, PLAIN))
        built = {who: build(case, who, "", Path()) for who in case.contestants}
        compare(case, {who: contestant.check() for who, contestant in built.items()})


def test_in_float64_the_plain_reference_agrees_with_us_on_every_task() -> None:
    # In float32 the fourth task has a value at the kink of a ReLU: see Case.checked.
    case = replace(CASES["maml-15q"], tasks=8, contestants=(OURS_FLOAT32, PLAIN))
    ours, reference = OursStep(case, OURS_FLOAT32), PlainMAMLStep(case, "")
    ours.method.double()
    reference.network.double()
    for number, (support, support_labels, query, query_labels) in enumerate(reference.tasks):
        part = ours.batch.split(1)[number]
        loss = ours.method.loss(EpisodeBatch(part.support.double(), part.query.double())).loss
        expected = reference.query_loss(support.double(), support_labels, query.double(), query_labels)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("times_as_fast", "code"), [(1.01, 0), (0.99, 1)])
def test_the_guard_fails_below_half_of_what_is_expected(
    times_as_fast: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def race(case: Case) -> Ratio:
        value = times_as_fast * guard.EXPECTED[case.name] / 2
        return Ratio(value, value, value, 0.94)

    monkeypatch.setattr(guard, "race", race)
    assert guard.main() == code
    assert ("error: maml-15q" in capsys.readouterr().out) == bool(code)


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_trains_from_image_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("easyfsl", reason="easyfsl is not installed; make race installs it")
    monkeypatch.setattr(torch.utils.data.Sampler, "__init__", torch.utils.data.Sampler.__init__)  # put back at the end
    case = replace(CASES["from-disk"], shape=CASES["from-disk"].shape._replace(way=3, shot=1, query=2), tasks=2)
    numbers = np.random.default_rng(0)
    classes = [f"alphabet/character{number}" for number in range(4)]
    for name in classes:
        (tmp_path / "images_background" / name).mkdir(parents=True)
        for image in range(3):
            drawn = Image.fromarray(numbers.integers(0, 256, (105, 105), dtype=np.uint8))
            drawn.save(tmp_path / "images_background" / name / f"{image}.png")
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    contestant = build(case, "easyfsl", "workers-0", tmp_path)
    contestant.step()
    assert 0 <= contestant.accuracy <= 1  # type: ignore[attr-defined]
