"""Registering a model: a version is made once for each result, can be loaded anywhere and traced to its origin."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fewshot.errors import RegistryError
from fewshot.project.lineage import Lineage
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json, sha256_json
from fewshot.tracking.aliases import aliases_of
from fewshot.tracking.artifact import ARTIFACT, artifact_digest, is_whole
from fewshot.tracking.client import error_code
from fewshot.tracking.store import Store
from fewshot.tracking.versions import CLEANED, ENCODER, IDENTITY, SETTINGS

_PACKAGE = Path(__file__).resolve().parents[1]
_NEEDED = ("jaxtyping", "mlflow", "numpy", "pydantic", "safetensors", "torch")
"""Packages that a machine needs to load a registered model; the fewshot package travels inside it."""
_NEEDED_BY = {
    "torchvision": ("torchvision", "httpx", "rich"),
    "timm": ("timm", "torchvision", "huggingface_hub", "httpx", "rich"),
    "lite0": ("timm", "torchvision", "huggingface_hub", "httpx", "rich"),
}
"""And what it needs besides for a backbone of this name."""


def register(
    store: Store, settings: Settings, model: Path, weights_sha256: str, evaluation: dict[str, Any], lineage: Lineage
) -> dict[str, Any]:
    """Make a version of the model folder in the evaluation's run; the same weights and results make no second one.

    A version whose files are gone, or were changed, is given them again. The first version gets the alias "champion",
    later ones "challenger". `evaluation` is the record of the evaluation: {"run_id", "results"}. Returns
    {"model", "version", "run_id"}.
    """
    name, identity = settings.model_name, sha256_json([weights_sha256, evaluation["results"]])
    with store.lock("register"):
        found = _find(store, name, identity)
        if found is None:
            source = _log_model(store, model, evaluation["run_id"])
            tags = lineage.tags() | _result_tags(evaluation) | {IDENTITY: identity}
            tags |= {"fewshot.weights_sha256": weights_sha256, SETTINGS: canonical_json(settings.plain())}
            tags |= {ARTIFACT: artifact_digest(store.download(source))} | _encoder_tags(model)
            found = _make_version(store, name, source, evaluation["run_id"], tags)
        elif not is_whole(store, name, str(found.version)):
            _restore(store, found, model)
    return {"model": name, "version": str(found.version), "run_id": found.run_id}


def _encoder_tags(model: Path) -> dict[str, str]:
    from fewshot.model import describe_model

    encoder = describe_model(model).encoder
    return {ENCODER: canonical_json(asdict(encoder))} if encoder else {}


def _find(store: Store, name: str, identity: str) -> Any:
    versions = store.client.search_model_versions(f"name = '{name}'")
    return next((found for found in versions if found.tags.get(IDENTITY) == identity), None)


def _log_model(store: Store, folder: Path, run_id: str) -> str:
    """Log the model into a run, once; returns its URI."""
    logged = store.client.get_run(run_id).data.tags.get("fewshot.model_uri")
    if logged:
        return str(logged)
    # Made here, because MLflow would put it into the experiment of its thread-local active run.
    experiment = store.client.get_run(run_id).info.experiment_id
    model_id = store.client.create_logged_model(experiment, name="model", source_run_id=run_id).model_id
    import mlflow
    from mlflow.models import Model

    with _quiet(), store.module_functions():
        info = Model.log(
            artifact_path=None, flavor=mlflow.pyfunc, run_id=run_id, model_id=model_id, **_contents(folder)
        )
    store.client.set_tag(run_id, "fewshot.model_uri", info.model_uri)
    return str(info.model_uri)


def _restore(store: Store, version: Any, folder: Path) -> None:
    """Write the files of a version again, where MLflow looks for them, whatever is left there."""
    name, number = version.name, str(version.version)
    store.connect()
    import mlflow

    if (left := store.files_of(name, number)) is not None:
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory() as made, _quiet(), store.module_functions():
        files = Path(made, "model")
        mlflow.pyfunc.save_model(path=str(files), **_contents(folder))
        store.client.log_model_artifacts(version.source.removeprefix("models:/"), str(files))
        store.tag_version(name, number, {ARTIFACT: artifact_digest(files)})
        if CLEANED in version.tags:
            store.untag_version(name, number, CLEANED)


@contextmanager
def _quiet() -> Iterator[None]:
    # Recorded as well as ignored: MLflow switches some of its warnings on again whatever filter is set.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


def _contents(folder: Path) -> dict[str, Any]:
    """Arguments with which MLflow writes a model folder and all that loads it elsewhere."""
    from fewshot.model import describe_model

    description = describe_model(folder)
    signature, example = _signature(description.image_shape)
    needed = _NEEDED + _NEEDED_BY.get(description.settings_values["backbone"]["name"], ())
    return {
        "python_model": str(_PACKAGE / "tracking" / "pyfunc_model.py"),
        # MLflow decodes an address (%41 is A), but for its last part.
        "artifacts": {"model": f"{folder.resolve().parent.as_uri()}/{folder.name}"},
        "code_paths": [str(_PACKAGE)],
        "signature": signature,
        "input_example": example,
        # Inferring them takes 4 s and may ask a package index.
        "pip_requirements": [f"{package}=={installed(package).partition('+')[0]}" for package in needed],
    }


def _make_version(store: Store, name: str, source: str, run_id: str, tags: dict[str, str]) -> Any:
    try:
        store.client.create_registered_model(name, description="A few-shot classifier made by fewshot's pipeline.")
    except RegistryError as error:
        if error_code(error) != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = source.removeprefix("models:/")
    made = store.client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)
    with aliases_of(store, name) as aliases:
        aliases.add(str(made.version))
    return made


def _result_tags(evaluation: dict[str, Any]) -> dict[str, str]:
    """{"test/omniglot/5w1s": "0.9512 ± 0.0031 (600 episodes)"}: a number never stands without its interval."""
    return {
        f"test/{name}": f"{result['accuracy']:.4f} ± {result['ci95']:.4f} ({result['episodes']} episodes)"
        for name, result in evaluation["results"].items()
    }


def _signature(image_shape: tuple[int, ...]) -> tuple[Any, dict[str, np.ndarray]]:
    """The signature of the model, and a small example: 5-way 1-shot with 2 queries."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    uint8, float32 = np.dtype(np.uint8), np.dtype(np.float32)
    inputs = [
        TensorSpec(uint8, (-1, -1, *image_shape), "support"),
        TensorSpec(uint8, (-1, *image_shape), "query"),
    ]
    pixels = np.arange(7 * int(np.prod(image_shape)), dtype=np.int64).reshape(7, *image_shape)
    images = (pixels * 31 % 256).astype(np.uint8)
    signature = ModelSignature(Schema(inputs), Schema([TensorSpec(float32, (-1, -1))]))
    return signature, {"support": images[:5, None], "query": images[5:]}
