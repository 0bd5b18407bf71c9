"""Training steps of the race: ours in each form, eager and as one CUDA graph, against a plain loop over tasks."""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.gpu.forms import FORMS, form
from benchmarks.gpu.section import Section
from benchmarks.speed.cases import CASES, Case
from benchmarks.speed.inputs import make_tasks
from benchmarks.speed.ours import method_of, settings_of
from benchmarks.speed.reference import PlainMAMLStep, PlainProtoNetStep
from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import Method
from fewshot.system.device import Compute
from fewshot.training.outer_step import OuterStep

TIMED = ("maml-15q", "maml-1q-5steps", "maml-strided", "protonet-60w1s5q", "protonet-20w5s5q")
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Time every case in every form."""
    section = Section()
    for name in TIMED[: 1 if section.small else None]:
        case = replace(CASES[name], tasks=2) if section.small else CASES[name]
        plain = plain_step(case, section.device)
        section.add(f"{case.name}, plain loop, float32", measured(section, plain, case))
        maml = case.kind == "maml-step"
        for of_form in FORMS[: 1 if section.small or not maml else None]:
            for precision, dtype in FORMATS.items():
                compute = Compute(section.device, dtype)
                compute.prepare()  # as a training does: algorithms that give the same bits each time
                with form(of_form):
                    for kind in ("eager", "graph"):
                        if kind == "graph" and section.device.type != "cuda":
                            continue
                        key = f"{case.name}, {of_form}, {precision}, {kind}"
                        try:
                            section.add(key, measured(section, library_step(case, compute, kind == "graph"), case))
                        except (RuntimeError, AssertionError) as error:
                            section.add(key, {"failed": str(error).splitlines()[0][:300]})
                            torch.cuda.empty_cache()


def measured(section: Section, step: Callable[[], object], case: Case) -> dict[str, object]:
    """Milliseconds of a step, tasks each second, peak memory."""
    if section.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    time = section.milliseconds(step, 0.2 if section.small else 0.8)
    peak = torch.cuda.max_memory_allocated() / 2**30 if section.device.type == "cuda" else 0.0
    return {"ms": time, "tasks_per_s": round(1e3 * case.tasks / time["median"], 1), "peak_gib": round(peak, 2)}


def plain_step(case: Case, device: torch.device) -> Callable[[], object]:
    """The step as the papers have it, with the weights and images on the device."""
    if case.kind == "maml-step":
        maml = PlainMAMLStep(case, "")
        maml.network.to(device)
        maml.tasks = [tuple(tensor.to(device) for tensor in task) for task in maml.tasks]  # type: ignore[misc]
        maml.outer = torch.optim.Adam(maml.network.parameters(), lr=1e-3)
        return maml.step
    step = PlainProtoNetStep(case, "")
    step.network.to(device)
    step.support, step.query, step.labels = (of.to(device) for of in (step.support, step.query, step.labels))
    step.outer = torch.optim.Adam(step.network.parameters(), lr=1e-3)
    return step.step


def parts_of(case: Case, compute: Compute) -> tuple[Method, EpisodeBatch]:
    """Our method with the race's weights, and its batch, on the device."""
    method = method_of(case, settings_of(case, "ours")).to(compute.device)
    tasks = make_tasks(case)
    return method, EpisodeBatch(tasks.support.to(compute.device), tasks.query.to(compute.device))


def library_step(case: Case, compute: Compute, recorded: bool) -> Callable[[], object]:
    """The library's outer step: gradient, clipping and Adam; as one CUDA graph, or as it runs without."""
    method, batch = parts_of(case, compute)
    step = OuterStep(method, settings_of(case, "ours").train, compute)
    if not recorded:
        step.recorded = None
    return lambda: step(batch, 1e-3)


if __name__ == "__main__":
    main()
