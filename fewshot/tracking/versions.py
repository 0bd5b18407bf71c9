"""Model versions in MLflow's registry: made once for each result, loadable anywhere, traceable to their origin."""

import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from fewshot.errors import RegistryError
from fewshot.project.lineage import Lineage
from fewshot.project.paths import Home
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json, sha256_json
from fewshot.tracking.store import aliases, connect, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

IDENTITY = "fewshot.identity"
"""Tag of a version: digest of its weights and results. There is one version for each."""
SETTINGS = "fewshot.settings"
"""Tag of a version: all settings as JSON."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases of versions. The previous one was the champion before, and takes its place if it is deleted."""
ROLLED_BACK = "fewshot.rolled_back"
"""Tag of a version: when it was taken back."""
_PACKAGE = Path(__file__).resolve().parents[1]
_NEEDED = ("jaxtyping", "mlflow", "numpy", "pydantic", "safetensors", "torch")
"""What a machine needs to load a registered model; the fewshot package travels inside it."""
_NEEDED_BY_TORCHVISION = ("torchvision", "httpx", "rich")
"""And what it needs besides if the backbone is one of torchvision's."""


def register(
    home: Home, settings: Settings, training: dict[str, Any], evaluation: dict[str, Any], lineage: Lineage
) -> dict[str, Any]:
    """Make a version of the model in the evaluation's run; the same weights and results make no second one.

    The first version gets the alias "champion", later ones "challenger". Returns {"model", "version", "run_id"}.
    """
    name, identity = settings.model_name, sha256_json([training["weights_sha256"], evaluation["results"]])
    client = connect(home)
    with mlflow_errors(home), FileLock(home.file_lock("register")):
        found = _find(client, name, identity)
        if found is None:
            source = _log_model(client, home.state / training["model"], evaluation["run_id"])
            tags = lineage.tags() | _result_tags(evaluation) | {IDENTITY: identity}
            tags["fewshot.weights_sha256"] = training["weights_sha256"]
            tags[SETTINGS] = canonical_json(settings.plain())
            found = _make_version(client, name, source, evaluation["run_id"], tags)
    return {"model": name, "version": str(found.version), "run_id": found.run_id}


def version_with(client: "MlflowClient", model: str, alias: str) -> str:
    """The version that bears an alias; empty if the alias is not there or its version was deleted.

    Other errors of MLflow are raised: a champion that can't be asked for is not one that does not exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(model, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return ""
        raise


def standing_champion(client: "MlflowClient", model: str) -> str:
    """The version of the champion; if that was deleted, the previous one takes its place. Empty if neither is there.

    So the deletion of a champion lets no version into its place untested while there is one to test it against. What
    was rolled back does not come back in this way.
    """
    if champion := version_with(client, model, CHAMPION):
        return champion
    previous = version_with(client, model, PREVIOUS)
    if not previous or ROLLED_BACK in client.get_model_version(model, previous).tags:
        return ""
    client.set_registered_model_alias(model, CHAMPION, previous)
    client.delete_registered_model_alias(model, PREVIOUS)
    return previous


def is_registered(home: Home, record: dict[str, Any]) -> bool:
    """Whether the version of a `register` record is still there."""
    return aliases(home, record["model"], record["version"]) is not None


@dataclass(frozen=True)
class Version:
    """A model version as the registry holds it."""

    model: str
    number: str
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]

    def links(self) -> list[tuple[str, str]]:
        """Where it comes from, back to data and code: names and texts, the newest link first."""
        tags = {name.removeprefix("fewshot."): value for name, value in self.tags.items()}
        dirty = " (with changes that were not committed)" if tags.get("git_dirty") == "true" else ""
        named = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return [
            ("version", f"{self.model}/{self.number}{named}"),
            ("MLflow run", self.run_id),
            ("flow run", tags.get("flow_run", "unknown")),
            ("weights", f"sha256 {tags.get('weights_sha256', 'unknown')}"),
            ("settings", tags.get("settings", "unknown")),
            ("data", tags.get("data_digest", "unknown")),
            *(("", f"{path} md5 {md5}") for path, md5 in json.loads(tags.get("data_md5", "{}")).items()),
            ("git commit", f"{tags.get('git_commit', 'unknown')}{dirty}"),
            ("code", tags.get("code_key", "unknown")),
            ("lock", tags.get("lock_key", "unknown")),
            ("machine", tags.get("machine", "unknown")),
        ]


def describe_version(home: Home, reference: str) -> Version:
    """The version behind "models:/NAME@ALIAS", "NAME@ALIAS", "NAME/NUMBER" or "NAME" (its champion).

    Raises RegistryError if there is none.
    """
    client, name = connect(home), reference.removeprefix("models:/")
    with mlflow_errors(home):
        if "/" in name:
            found = client.get_model_version(*name.split("/", 1))
        else:
            model, _, alias = name.partition("@")
            alias = alias or CHAMPION
            number = version_with(client, model, alias)
            if not number:
                raise RegistryError(
                    f"{model} has no {alias}: there is no such model or alias, or its version was deleted; "
                    f"fewshot history {model} shows what there is, fewshot retrain makes a champion"
                )
            found = client.get_model_version(model, number)
        named = client.get_registered_model(found.name).aliases
    of_version = tuple(sorted(alias for alias, number in named.items() if str(number) == str(found.version)))
    return Version(found.name, str(found.version), found.run_id, dict(found.tags), of_version)


def model_folder(home: Home, model: str) -> Path:
    """The model folder behind a path or "models:/name@alias"; RegistryError or UsageError if there is none."""
    if not model.startswith("models:/"):
        folder = Path(model).expanduser()
        if not (folder / "model.json").is_file():
            raise RegistryError(f"{folder} holds no model.json; give a model folder or models:/NAME@champion")
        return folder
    connect(home)
    import mlflow

    with mlflow_errors(home):
        logged = Path(mlflow.artifacts.download_artifacts(artifact_uri=model))
    folders = [file.parent for file in logged.glob("artifacts/*/model.json")]
    if len(folders) != 1:
        raise RegistryError(
            f"{model} is no model of this program (no model.json in it); fewshot ui shows those that are"
        )
    return folders[0]


def _find(client: "MlflowClient", name: str, identity: str) -> Any:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((found for found in versions if found.tags.get(IDENTITY) == identity), None)


def _log_model(client: "MlflowClient", folder: Path, run_id: str) -> str:
    """Log the model into a run, once; returns its URI."""
    logged = client.get_run(run_id).data.tags.get("fewshot.model_uri")
    if logged:
        return str(logged)
    import mlflow
    from mlflow.models import Model

    from fewshot.model import describe_model

    description = describe_model(folder)
    signature, example = _signature(description.image_shape)
    needed = _NEEDED + (
        _NEEDED_BY_TORCHVISION if description.settings_values["backbone"]["name"] == "torchvision" else ()
    )
    # Made here, because MLflow would put it into the experiment of its thread-local active run.
    experiment = client.get_run(run_id).info.experiment_id
    model_id = client.create_logged_model(experiment, name="model", source_run_id=run_id).model_id
    # Recorded as well as ignored: MLflow switches some of its warnings on again whatever filter is set.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        info = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model_id,
            python_model=str(_PACKAGE / "tracking" / "pyfunc_model.py"),
            artifacts={"model": str(folder)},
            code_paths=[str(_PACKAGE)],
            signature=signature,
            input_example=example,
            # Inferring them takes 4 s and may ask a package index.
            pip_requirements=[f"{package}=={installed(package).partition('+')[0]}" for package in needed],
        )
    client.set_tag(run_id, "fewshot.model_uri", info.model_uri)
    return str(info.model_uri)


def _make_version(client: "MlflowClient", name: str, source: str, run_id: str, tags: dict[str, str]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="A few-shot classifier made by fewshot's pipeline.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = source.removeprefix("models:/")
    made = client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)
    alias = CHALLENGER if standing_champion(client, name) else CHAMPION
    client.set_registered_model_alias(name, alias, made.version)
    return made


def _result_tags(evaluation: dict[str, Any]) -> dict[str, str]:
    """{"test/omniglot/5w1s": "0.9512 ± 0.0031 (600 episodes)"}: a number never stands without its interval."""
    return {
        f"test/{name}": f"{result['accuracy']:.4f} ± {result['ci95']:.4f} ({result['episodes']} episodes)"
        for name, result in evaluation["results"].items()
    }


def _signature(image_shape: tuple[int, ...]) -> tuple[Any, dict[str, np.ndarray]]:
    """What the model takes and gives, and a small example: 5-way 1-shot with 2 queries."""
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
