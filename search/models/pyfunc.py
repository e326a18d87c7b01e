"""A trained classifier as MLflow serves it. MLflow runs this file, with `ogmge` beside it and nothing else of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from ogmge import inference


class Classifier(PythonModel):
    """Modality -> float32 [B, *shape] in; `probabilities` [B, K] and `class_id` [B] out."""

    def load_context(self, context: Any) -> None:
        """Loads the weights, on a GPU where there is one."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = inference.load(Path(context.artifacts["weights"]), self._device)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """What is in the samples. (A type would be MLflow's signature, and it has none for a dict of arrays.)"""
        x = {name: torch.as_tensor(np.asarray(model_input[name])).to(self._device) for name in self._model.names}
        probabilities = self._model.logits(x)[0].softmax(dim=1)
        return {"probabilities": probabilities.cpu().numpy(), "class_id": probabilities.argmax(dim=1).cpu().numpy()}


set_model(Classifier())
