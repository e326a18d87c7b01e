"""MLflow's model registry: a trained model is registered under the experiment's name, with the alias champion."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.store.remote import redact
from ogmge import inference
from ogmge.fit import BEST
from ogmge.inference import TrainedModel
from search.backend.cluster import sources
from search.experiment.program import ROOT
from search.tracking.client import TrackingError, quiet, store_uri, versions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
NEEDED = ("torch", "torchvision", "numpy", "mlflow")
EXAMPLES = 2


@dataclass(frozen=True)
class ModelCode:
    """Custom code that a model uses.

    Args:
        modules: names of the modules.
        factories: custom encoders and fusions, as `package.module:factory`.
    """

    modules: Collection[str]
    factories: Collection[str]


def register(name: str, run_id: str, weights: Path, uri: str, code: ModelCode, about: str) -> str:
    """Log the model to its run, register it, and give it the alias; return its URI.

    Args:
        name: name of the registered model.
        run_id: id of the training's run.
        weights: file of the checkpoint.
        uri: URI of MLflow's store.
        code: custom code that the model uses.
        about: description of the model, in Markdown.
    """
    import mlflow

    model = inference.load(weights, trusted=code.factories)
    mlflow.set_tracking_uri(uri)
    example = {key: np.zeros((EXAMPLES, *shape), np.float32) for key, shape in model.shapes.items()}
    known = versions()
    with mlflow.start_run(run_id=run_id), redirect_stderr(io.StringIO()):  # MLflow prints messages and a progress bar
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"weights": str(weights)},
            code_paths=[str(ROOT / "ogmge"), *sources(code.modules)],
            model_config={"trusted": sorted(code.factories)},
            pip_requirements=[f"{package}=={known[f'version.{package}'].partition('+')[0]}" for package in NEEDED],
            signature=_signature(model),
            input_example=example,
            registered_model_name=name,
        )
    client = mlflow.MlflowClient()
    client.update_model_version(name, info.registered_model_version, about)
    client.update_registered_model(name, about)
    client.set_registered_model_alias(name, ALIAS, info.registered_model_version)
    return f"models:/{name}@{ALIAS}"


def _signature(model: TrainedModel) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, *shape), name) for name, shape in model.shapes.items()
    ]
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, len(model.classes)), "probabilities"),
        TensorSpec(np.dtype(np.int64), (-1,), "class_id"),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def find_model_file(uri: str, runs: Path) -> Path:
    """Return the checkpoint of a registered model: that of the local training that made it, else MLflow's copy.

    MLflow's store is MLFLOW_TRACKING_URI, if that is set, else the store in the folder of the runs.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        runs: folder of the runs.

    Raises:
        TrackingError: if there is no such model.
    """
    import mlflow

    quiet()
    store = store_uri(os.environ.get("MLFLOW_TRACKING_URI"), runs)
    mlflow.set_tracking_uri(store)
    try:
        version = _find_version(mlflow.MlflowClient(store), uri)
        files = (path.parent / BEST for path in runs.glob("*/mlflow.json") if str(version.run_id) in path.read_text())
        if here := next(filter(Path.is_file, files), None):
            return here
        with redirect_stderr(io.StringIO()):
            copy = f"models:/{version.name}/{version.version}/artifacts/best.pt"
            return Path(mlflow.artifacts.download_artifacts(copy))
    except Exception as error:  # MLflow raises its own errors, and those of requests, sqlalchemy …
        raise TrackingError(f"cannot get {uri} from MLflow at {redact(store)}: {str(error).splitlines()[0]}") from error


def _find_version(client: MlflowClient, uri: str) -> ModelVersion:
    name, _, which = uri.removeprefix("models:/").replace("@", "/@").partition("/")
    if which.startswith("@"):
        return client.get_model_version_by_alias(name, which.removeprefix("@"))
    return client.get_model_version(name, which)
