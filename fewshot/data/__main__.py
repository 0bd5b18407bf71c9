"""`python -m fewshot.data STAGE DATASET`: what DVC's stages call. Users have the `fewshot` command."""

import argparse
import logging
import os
import sys
import traceback
from pathlib import Path

from fewshot.data.sources import open_source
from fewshot.data.stages.fetch import fetch
from fewshot.data.stages.listing import list_images
from fewshot.data.stages.pack import pack
from fewshot.data.stages.split import split
from fewshot.errors import FewshotError
from fewshot.settings.datasets import declaration_of, definitions
from fewshot.system import progress
from fewshot.system.progress import PROGRESS
from fewshot.system.text import shown, take_any_text


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; an error is one line on stderr and the exit status."""
    logging.basicConfig(level=logging.INFO, format=f"{PROGRESS}%(message)s")
    progress.LINE_EVERY_S = 1.0
    logging.getLogger("httpx").setLevel(logging.WARNING)
    take_any_text()
    parsed = _parser().parse_args(arguments)
    try:
        _run(parsed.stage, parsed.dataset, parsed.data_dir)
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


def _run(stage: str, dataset: str, data_dir: Path) -> None:
    declaration = declaration_of(dataset)
    source = open_source(dataset, declaration, data_dir.resolve().parent)
    if stage == "list":
        list_images(dataset, source, data_dir)
    elif stage == "fetch":
        fetch(dataset, source, data_dir)
    elif stage == "pack":
        pack(dataset, source, data_dir)
    else:
        raw = data_dir / dataset / "raw"
        split(dataset, definitions(dataset), data_dir, declaration.episodes, lambda: source.assigned(raw))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fewshot.data", description=__doc__)
    parser.add_argument("stage", choices=("list", "fetch", "pack", "split"))
    parser.add_argument("dataset")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the folder data of a project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
