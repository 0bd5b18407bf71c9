"""The registered model, logged as code: MLflow runs this file to load it, so that nothing is ever unpickled.

Input: {"support": uint8 [way, shot, channel, height, width], "query": uint8 [n, channel, height, width]}.
Output: float32 [n, way], the probability of each of the `way` classes for each query image.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from fewshot.model import load_model

# MLflow asks for type hints on `predict` to derive a schema; the signature of the logged model says more. Recorded,
# because it switches its warning on again whatever filter is set.
with warnings.catch_warnings(record=True):
    warnings.simplefilter("ignore")

    class FewShotModel(PythonModel):  # type: ignore[misc]
        """Learns the classes of each call's support set, then answers its queries."""

        def load_context(self, context: Any) -> None:
            """Load the weights; a damaged file raises DamagedFileError."""
            # Who loads a model with MLflow runs the code that came with it: this file.
            self._model = load_model(Path(context.artifacts["model"]), trust_code=True)

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            """Probabilities [n, way]. Images of another size raise UsageError that names the one expected."""
            support = np.asarray(model_input["support"], dtype=np.uint8)
            query = np.asarray(model_input["query"], dtype=np.uint8)
            # Nothing of a call is kept in this object, which a server shares between its threads.
            return self._model.predict_proba(self._model.fit(list(support)), query)


set_model(FewShotModel())
