"""The card and its software, and two ceilings: a large matrix product and a large copy."""

import platform
import subprocess
from functools import partial

import torch

from benchmarks.gpu.section import Section


def main() -> None:
    """Identify and measure."""
    section = Section()
    section.add("python", platform.python_version())
    section.add("torch", torch.__version__)
    if section.device.type == "cuda":
        properties = torch.cuda.get_device_properties(section.device)
        section.add("card", properties.name)
        section.add("memory_gib", round(properties.total_memory / 2**30, 1))
        section.add("capability", f"{properties.major}.{properties.minor}")
        section.add("cuda", torch.version.cuda)
        section.add("cudnn", torch.backends.cudnn.version())
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        section.add("driver", subprocess.run(query, capture_output=True, text=True).stdout.strip())
    side = 512 if section.small else 8192
    for name in ("float32", "bfloat16"):
        a, b = (torch.randn(side, side, device=section.device).to(getattr(torch, name)) for _ in range(2))
        time = section.milliseconds(partial(torch.mm, a, b))
        section.add(f"{name} product, TFLOP/s", round(2 * side**3 / time["median"] / 1e9, 1))
    source = torch.randn(2 ** (20 if section.small else 29), device=section.device)
    target = torch.empty_like(source)
    time = section.milliseconds(lambda: target.copy_(source))
    section.add("copy, GB/s read and written", round(2 * source.numel() * 4 / time["median"] / 1e6, 1))


if __name__ == "__main__":
    main()
