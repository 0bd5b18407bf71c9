"""Measure how many images a second each encoder of `fewshot encoders` embeds here, and write it into its list.

    python -m benchmarks.encoder_speed

One thread, batches of 16 in bfloat16, by the processor's time, which other processes on the machine hardly change: the
best of the passes of two seconds. Networks whose published weights are not here have random ones.
"""

import datetime
import platform
import re
import time
from pathlib import Path

import torch

from fewshot.backbones import encoder_list
from fewshot.backbones.build import build_backbone
from fewshot.settings.presets import load_settings
from fewshot.system.device import keep_freed_memory

LIST = Path(encoder_list.__file__).with_name("encoders.toml")
BATCH, SECONDS = 16, 2.0


def images_per_second(settings: tuple[str, ...], weights: bool) -> float:
    """The speed of one encoder, its own preparation of images included."""
    chosen = load_settings(overrides=[*settings, *([] if weights else ['backbone.weights=""'])]).backbone
    encoder = build_backbone(chosen, (3, 64, 64))
    assert encoder.preprocessing is not None
    images = torch.rand(BATCH, 3, encoder.preprocessing.side, encoder.preprocessing.side)
    best, end = float("inf"), None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        while end is None or time.perf_counter() < end:
            before = time.thread_time()
            encoder(images)
            if end is not None:
                best = min(best, time.thread_time() - before)
            end = end or time.perf_counter() + SECONDS  # the first pass makes the folded copy
    return BATCH / best


def main() -> None:
    """Measure all of them, one after the other."""
    torch.set_num_threads(1)
    keep_freed_memory()
    text = LIST.read_text(encoding="utf-8")
    head, *entries = text.split("[[encoder]]\n")
    measured = {"machine": machine(), "threads": 1, "batch": BATCH, "precision": "bfloat16", "date": str(today())}
    head = (
        head[: head.index("[measured]")] + "[measured]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in measured.items())
    )
    for place, summary in enumerate(encoder_list.list_encoders()):
        speed = images_per_second(summary.settings, summary.is_here)
        without = re.sub(r"images_per_second = .*\n", "", entries[place]).rstrip("\n")
        entries[place] = f"{without}\nimages_per_second = {speed:.1f}\n"
        print(f"{summary.name:44} {speed:7.1f} images/s", flush=True)
    LIST.write_text("\n[[encoder]]\n".join([head, *entries]), encoding="utf-8")


def machine() -> str:
    """The processor and what it multiplies."""
    fast = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({', '.join(fast) or platform.machine()})"


def today() -> datetime.date:
    """The day, in UTC."""
    return datetime.datetime.now(datetime.UTC).date()


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


if __name__ == "__main__":
    main()
