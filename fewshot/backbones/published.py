"""The published weights of timm's networks: on this machine, on FEWSHOT_MIRROR, or on Hugging Face's hub.

A mirror holds `<network>.safetensors`, such as `vit_small_patch14_dinov2.lvd142m.safetensors`: the file
`model.safetensors` of the network's page on the hub under the network's name. What is fetched stays in torch's cache
(TORCH_HOME) or the hub's (HF_HOME), which in a project are folders of the state folder.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch

from fewshot.backbones.weight_files import check_safetensors
from fewshot.errors import DamagedFileError, DataError
from fewshot.system.download import MIRROR, fetch_file
from fewshot.system.files import read_json, sha256_file, write_json

_FILE = "model.safetensors"


def published_weights(network: str) -> Path:
    """The safetensors file of a network's weights, fetched if it is not here; `network` has the tag of its weights.

    DataError if it can't be had, DamagedFileError if it is not what was fetched.
    """
    file = mirrored_file(network)
    if file.exists() or os.environ.get(MIRROR):
        in_hub = None if file.exists() else cached_in_hub(network)
        return in_hub or _from_mirror(file)
    found = cached_in_hub(network) or _from_hub(network)
    digest = found.resolve().name  # the hub's cache names large files by their SHA-256
    if re.fullmatch("[0-9a-f]{64}", digest) and sha256_file(found) != digest:
        raise DamagedFileError(f"{found} is damaged (its SHA-256 differs from its name); delete {found.resolve()}")
    return found


def is_here(network: str) -> bool:
    """True if the weights of a network are on this machine."""
    return mirrored_file(network).exists() or cached_in_hub(network) is not None


def mirrored_file(network: str) -> Path:
    """The place of weights that come from a mirror."""
    return Path(torch.hub.get_dir()) / "checkpoints" / f"{network}.safetensors"


def cached_in_hub(network: str) -> Path | None:
    """The weights in the hub's cache, if they are there."""
    from huggingface_hub import try_to_load_from_cache

    repository, revision = _repository(network)
    if not repository:
        return None
    found = try_to_load_from_cache(repository, _FILE, cache_dir=_hub_cache(), revision=revision)
    return Path(found) if isinstance(found, str) else None


def _from_mirror(file: Path) -> Path:
    """The file, fetched unless it is there and is what was fetched: its digest is kept beside it."""
    note = file.with_name(f"{file.name}.sha256.json")

    def check(there: Path) -> None:
        check_safetensors(there)
        if there == file and note.exists() and read_json(note, f"delete {file}")["of_file"] != sha256_file(file):
            raise DamagedFileError(f"{file} is damaged (its digest is not that of what was fetched); delete it")

    if os.environ.get(MIRROR):
        fetch_file(file.name, file, check)
    else:
        check(file)
    digest = {"of_file": sha256_file(file)}
    if not note.exists() or read_json(note, f"delete {file}") != digest:
        write_json(note, digest)
    return file


def _from_hub(network: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = _repository(network)
    name = f"{network}.safetensors"
    instead = f"set {MIRROR} to a folder or address that holds {name}, or backbone.weights to the path of that file"
    if not repository:
        raise DataError(f"the weights of {network} are published as a pickle only; {instead}")
    options: dict[str, Any] = {"endpoint": endpoint} if (endpoint := os.environ.get("HF_ENDPOINT")) else {}
    try:
        return Path(hf_hub_download(repository, _FILE, revision=revision, cache_dir=_hub_cache(), **options))
    except GatedRepoError:
        said = f"{repository} gives them to those who accepted its licence: do so on its page and set HF_TOKEN"
        raise DataError(f"can't fetch the weights of {network}: {said}; or {instead}") from None
    except LocalEntryNotFoundError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise DataError(f"can't fetch the weights of {network}: {repository} can't be reached ({reason}); check the "
                        f"network, {instead}") from None  # fmt: skip
    except EntryNotFoundError:
        raise DataError(f"can't fetch the weights of {network}: {repository} has no {_FILE}; {instead}") from None
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"can't fetch the weights of {network} from {repository} ({reason}); {instead}") from None


def _repository(network: str) -> tuple[str, str | None]:
    """The place of a network on the hub and its revision; ("", None) if it is not there."""
    import timm  # here, because it takes seconds

    config = timm.get_pretrained_cfg(network)
    if config is None or not config.hf_hub_id:
        return "", None
    place, _, revision = str(config.hf_hub_id).partition("@")
    return place, revision or None


def _hub_cache() -> str:
    """The folder of the hub's cache, as huggingface_hub documents it, by the environment as it is now."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
