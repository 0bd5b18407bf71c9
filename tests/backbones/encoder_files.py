"""Weights of tiny networks of timm, made by a test, and a server that has them."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

VIT, CONVOLUTIONAL = "test_vit.r160_in1k", "test_efficientnet.r160_in1k"


def made_weights(network: str = VIT, seed: int = 0) -> dict[str, Tensor]:
    """The weights of a whole network, its classifier included; statistics of batch normalisation that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = timm.create_model(network)
        weights = made.state_dict()
        for name, tensor in weights.items():
            if name.endswith(("running_var", "running_mean")):
                tensor.uniform_(0.5, 1.5)
    return weights


def write_weights(folder: Path, network: str = VIT, seed: int = 0) -> Path:
    """A mirror's file of these weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made_weights(network, seed), folder / f"{network}.safetensors")
    return folder / f"{network}.safetensors"


@contextmanager
def served(folder: Path, handler: type[http.server.SimpleHTTPRequestHandler] | None = None) -> Iterator[str]:
    """The address of a server of this machine that hands out a folder."""
    made = partial(handler or http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
