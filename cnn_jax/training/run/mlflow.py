"""A run in MLflow: where MLFLOW_TRACKING_URI says, or in MLflow's own default place."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cnn_jax.training.run.tracker import PROJECT, Beginning

ENDINGS = {"completed": "FINISHED", "interrupted": "KILLED"}
MOST = 100
"""Parameters that MLflow takes at once."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""For a server that does not answer: MLflow's own would hold the training up for many minutes."""


class MLflow:
    """See `cnn_jax.training.run.tracker.Tracker`."""

    def start(self, run: Beginning) -> str:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._client: Any = mlflow.MlflowClient()
        if run.known:
            self._id = run.known
            self._client.update_run(self._id, status="RUNNING")
            return self._id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        where = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._id = self._client.create_run(where, run_name=run.name).info.run_id
        settings = [mlflow.entities.Param(name, str(value)) for name, value in run.settings.items()]
        for first in range(0, len(settings), MOST):
            self._client.log_batch(self._id, params=settings[first : first + MOST])
        return self._id

    def scalars(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 10**6
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def images(self, step: int, name: str, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        for number, image in enumerate(images):
            self._client.log_image(self._id, image, key=f"{name.replace('/', '.')}.{number}", step=step)

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def end(self, status: str) -> None:
        self._client.set_terminated(self._id, ENDINGS.get(status, "FAILED"))
