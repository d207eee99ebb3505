"""The most confident mistakes and the least confident hits, and where the network looked (Grad-CAM)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int, UInt8

from cnn_jax.data.sources import Split
from cnn_jax.explaining.saliency import grad_cam, overlay
from cnn_jax.report import pictures
from cnn_jax.report.galleries import Describer, Photograph
from cnn_jax.report.pictures import Picture
from cnn_jax.report.record import Record, percent
from cnn_jax.training.trained_run import TrainedRun

SHOWN = 12
"""Of each kind."""
BATCH = 8
"""Images that Grad-CAM sees at a time."""
SIDE = 160
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True)
class Case:
    """One example and where the network looked for the class that it predicts."""

    photograph: Photograph
    overlay: Picture


@dataclass(frozen=True)
class Cases:
    """The section."""

    mistakes: tuple[Case, ...]
    all_mistakes: int
    hits: tuple[Case, ...]
    all_hits: int


def cases(run: TrainedRun, record: Record, examples: Split, describer: Describer) -> Cases:
    """The surest mistakes, as the evaluation lists them, and the least sure of the right predictions."""
    listed = (record.get(record.evaluation, "mistakes") or [])[:SHOWN]
    places = {id_: place for place, id_ in enumerate(examples.ids)}
    wrong = [places[mistake["id"]] for mistake in listed]
    right = np.flatnonzero(describer.right)
    unsure = [int(index) for index in right[np.argsort(describer.confidence[right], kind="stable")[:SHOWN]]]
    shown = _look(run, examples, describer, [*wrong, *unsure])
    mistakes = (_as_recorded(record, place, case) for place, case in enumerate(shown[: len(wrong)]))
    all_hits = len(right)
    return Cases(tuple(mistakes), len(examples) - all_hits, tuple(shown[len(wrong) :]), all_hits)


def _as_recorded(record: Record, place: int, case: Case) -> Case:
    """The same with the numbers of the evaluation."""
    probability, true = (
        record.measured(percent, "mistakes", place, key) for key in ("probability", "true_probability")
    )
    return replace(case, photograph=replace(case.photograph, probability=probability, true_probability=true))


def _look(run: TrainedRun, examples: Split, describer: Describer, indices: Sequence[int]) -> list[Case]:
    if not indices:
        return []
    images = np.stack(list(pictures.load(examples, indices, run.resize)))
    maps = _heat(run, images, describer.predicted[np.asarray(indices)])
    return [
        Case(
            describer.photograph(index, pictures.picture(image, SIDE)),
            pictures.picture(overlay(image, heat), SIDE),
        )
        for index, image, heat in zip(indices, images, maps, strict=True)
    ]


def _heat(
    run: TrainedRun, images: UInt8[np.ndarray, "n h w 3"], classes: Int[np.ndarray, " n"]
) -> Float32[np.ndarray, "n _ _"]:
    """Grad-CAM of any number of images, always so many at a time that there is one program."""
    missing = -len(images) % BATCH
    filled = np.concatenate([images, np.repeat(images[:1], missing, 0)])
    targets = np.concatenate([classes, np.repeat(classes[:1], missing)])
    parts = [
        grad_cam(run.model, run.variables, filled[start : start + BATCH], targets[start : start + BATCH])
        for start in range(0, len(filled), BATCH)
    ]
    return np.concatenate(parts)[: len(images)]
