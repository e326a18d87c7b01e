"""Trained classifier that MLflow serves. MLflow runs this file with `ogmge`, without the rest of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from ogmge import inference


class Classifier(PythonModel):
    """MLflow model. Input: modality -> float32 [B, *shape]; output: `probabilities` [B, K] and `class_id` [B]."""

    def load_context(self, context: Any) -> None:
        """Load the weights, on a GPU if there is one."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trusted = (context.model_config or {}).get("trusted", [])  # MLflow has imported this model's own code already
        self._model = inference.load(Path(context.artifacts["weights"]), self._device, trusted=trusted)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Classify samples. (MLflow reads type hints as a signature, and has none for a dict of arrays.)"""
        x = {name: torch.as_tensor(np.asarray(model_input[name])).to(self._device) for name in self._model.names}
        probabilities = self._model.logits(x)[0].softmax(dim=1)
        return {"probabilities": probabilities.cpu().numpy(), "class_id": probabilities.argmax(dim=1).cpu().numpy()}


set_model(Classifier())
