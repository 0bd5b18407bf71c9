"""Who does what: from a case and a name to the object that does the work. A library is imported only when it races."""

from importlib import import_module
from pathlib import Path
from typing import Protocol

from benchmarks.speed.cases import MODULES, Case


class Contestant(Protocol):
    """Work that can be done again and again."""

    def step(self) -> None:
        """Do the work of the case once; this is what is timed."""

    def check(self) -> dict[str, float]:
        """Numbers that any right implementation gets from the race's images and weights."""


_HERE = "benchmarks.speed"
_OURS = {
    "maml-step": f"{_HERE}.ours:OursStep",
    "protonet-step": f"{_HERE}.ours:OursStep",
    "disk": f"{_HERE}.disk:OursFromDisk",
    "maml-evaluation": f"{_HERE}.ours:OursEvaluation",
    "protonet-evaluation": f"{_HERE}.ours:OursEvaluation",
    "maml-latency": f"{_HERE}.ours:OursLatency",
    "protonet-latency": f"{_HERE}.ours:OursLatency",
}
_PEERS = {
    ("maml-step", "torchopt"): f"{_HERE}.peers.using_torchopt:TorchOptStep",
    ("maml-step", "higher"): f"{_HERE}.peers.using_higher:HigherStep",
    ("maml-step", "parallel-metalearn"): f"{_HERE}.peers.using_metalearn:MetalearnMAMLStep",
    ("protonet-step", "easyfsl"): f"{_HERE}.peers.using_easyfsl:EasyFSLStep",
    ("protonet-step", "parallel-metalearn"): f"{_HERE}.peers.using_metalearn:MetalearnProtoNetStep",
    ("disk", "easyfsl"): f"{_HERE}.peers.easyfsl_from_disk:EasyFSLFromDisk",
    ("maml-evaluation", "higher"): f"{_HERE}.peers.using_higher:HigherEvaluation",
    ("maml-evaluation", "torchopt"): f"{_HERE}.peers.using_torchopt:TorchOptEvaluation",
    ("protonet-evaluation", "easyfsl"): f"{_HERE}.peers.using_easyfsl:EasyFSLEvaluation",
    ("maml-latency", "higher"): f"{_HERE}.peers.using_higher:HigherLatency",
    ("maml-step", "plain"): f"{_HERE}.reference:PlainMAMLStep",
    ("protonet-step", "plain"): f"{_HERE}.reference:PlainProtoNetStep",
    ("protonet-latency", "easyfsl"): f"{_HERE}.peers.using_easyfsl:EasyFSLLatency",
}


def build(case: Case, contestant: str, variant: str, folder: Path) -> Contestant:
    """The contestant, ready to race. `folder` is where `disk.prepare` put its files, for the case that reads some."""
    place = _PEERS[case.kind, contestant] if contestant in MODULES else _OURS[case.kind]
    module, _, name = place.partition(":")
    made = getattr(import_module(module), name)
    argument = variant if contestant in MODULES else contestant
    built: Contestant = made(case, argument, folder) if case.kind == "disk" else made(case, argument)
    return built
