"""`python -m fewshot.data STAGE DATASET`: what DVC's stages call. Users have the `fewshot` command."""

import argparse
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import yaml

from fewshot.data.sources import find_source
from fewshot.data.sources.folder import FolderOptions
from fewshot.data.stages.collect import collect
from fewshot.data.stages.download import download
from fewshot.data.stages.listing import list_images
from fewshot.data.stages.pack import pack
from fewshot.data.stages.split import split
from fewshot.errors import FewshotError, UsageError, unknown
from fewshot.settings.datasets import check_scheme, declared, definitions
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.text import shown, take_any_text


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; an error is one line on stderr and the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    take_any_text()
    parsed = _parser().parse_args(arguments)
    try:
        _run(parsed.stage, parsed.dataset, parsed.data_dir, parsed.params)
    except FewshotError as error:
        print(shown(f"error: {error}", keep="\n"), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if os.environ.get("FEWSHOT_DEBUG"):
            traceback.print_exception(error)
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        text = f"error: {parsed.stage} of {parsed.dataset} met what it does not foresee ({said}); --debug shows where"
        print(shown(text), file=sys.stderr)
        return 1
    return 0


def _run(stage: str, dataset: str, data_dir: Path, params: Path) -> None:
    if stage == "list":
        list_images(FolderOptions.parse(_section(params, dataset)), data_dir)
    elif stage == "collect":
        collect(FolderOptions.parse(_section(params, dataset)), data_dir)
    elif stage == "split":
        check_scheme(dataset)
        split(dataset, definitions(dataset), data_dir, **_fixed_episodes(params, dataset))
    elif stage == "pack":
        pack(dataset, find_source(dataset, declared()), data_dir)
    else:
        download(dataset, find_source(dataset, declared()), data_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fewshot.data", description=__doc__)
    parser.add_argument("stage", choices=("download", "list", "collect", "pack", "split"))
    parser.add_argument("dataset")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    return parser


def _fixed_episodes(params: Path, dataset: str) -> dict[str, Any]:
    """The section `frozen` of params.yaml: the arguments shapes, number and seed of `split`."""
    frozen = _section(params, "frozen")
    if dataset not in frozen:
        raise unknown(f"dataset in {params}", dataset, frozen)
    values = frozen[dataset]
    try:
        shapes = {part: [EpisodeShape.parse(text) for text in texts] for part, texts in values["shapes"].items()}
        return {"shapes": shapes, "number": int(values["episodes"]), "seed": int(values["seed"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{params}: frozen.{dataset} is not whole ({error})") from None


def _section(params: Path, name: str) -> Any:
    """What stands under a name in params.yaml."""
    try:
        return yaml.safe_load(params.read_text(encoding="utf-8"))[name]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UsageError(
            f"{params} can't be read ({error}); it says which episodes are frozen, and which folder is watched"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
