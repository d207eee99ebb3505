"""What a start prints before it trains, and at its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from cnn_jax.config.image_size import in_pixels
from cnn_jax.training.classifier import unused
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.setup import Job


def describe(job: Job, workdir: Path, newest: int | None, reporter: Reporter) -> None:
    """What is about to run, in a few lines."""
    config, parameters = job.config, job.parameters
    sizes = ", ".join(f"{len(split)} {name}" for name, split in job.dataset.splits.items())
    names = _first(job.dataset.classes)
    reporter.line(f"run        {workdir}")
    reporter.line(f"data       {config.data.dataset}: {sizes}; {len(job.dataset.classes)} classes: {names}")
    for note in job.dataset.notes:
        reporter.line(f"           {note}")
    if "validation" not in job.dataset.splits:
        reporter.line("           no validation images: no best epoch can be chosen, the last is kept")
    reporter.line(f"model      {config.model.name}, {in_pixels(config.model.image_size)}, {config.train.precision}")
    if job.model.takes_grey:
        how = "one channel" if job.model.channels == 1 else "three equal channels, which is what its weights take"
        reporter.line(f"           images are made grey: {how}")
    for note in job.notes:
        reporter.line(f"           {note}")
    reporter.line(f"weights    {_describe_weights(job)}")
    if job.transfer is not None and job.transfer.other_inputs:
        reporter.line(f"           other inputs: {job.transfer.other_inputs}")
    reporter.line(
        f"train      {parameters['trainable']:,} of {parameters['total']:,} parameters "
        f"(freeze_until={config.train.freeze_until}), {config.train.epochs} epochs of {job.steps_per_epoch} steps "
        f"on {job.mesh.devices} {jax.default_backend()} device{'s' * (job.mesh.devices > 1)}"
        + (f" of {job.mesh.processes} processes" if job.mesh.processes > 1 else "")
    )
    if job.teacher is not None:
        reporter.line(f"teacher    {job.teacher.description}{_how_it_teaches(job)}")
    if job.phases[0].solved:
        left_out = unused(config) if len(job.phases) == 1 else []  # a later phase uses them
        reporter.line(
            "           epoch 1 solves the classifier" + (f"; not used: {', '.join(left_out)}" if left_out else "")
        )
    elif config.train.head_epochs:
        what = "new head" if config.model.dense else "classifier"
        reporter.line(f"           the first {config.train.head_epochs} epochs train the {what} alone")
    if job.phases[-1].rounded:
        first, last = job.phases[-1].first_epoch, job.phases[-1].last_epoch
        which = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        reporter.line(f"quantize   {which} with the rounding of int8; the best is among them")
    elif job.phases[-1].features is None:
        reporter.line(f"features   not cached: {job.phases[-1].without_features}")
    if newest is not None:
        reporter.line(f"resume     at step {newest} of {job.steps}")


def _how_it_teaches(job: Job) -> str:
    assert job.teacher is not None
    settings, size = job.config.train, job.teacher.run.model.image_size
    resized = "" if size == job.model.image_size else f", resized to its {in_pixels(size)}"
    how = f"inside the step, on the same images{resized}" if job.teacher.inside else "asked once for each image"
    return f": {how}; weight {settings.distillation_weight:g}, temperature {settings.distillation_temperature:g}"


def conclude(result: dict[str, Any], reporter: Reporter) -> None:
    """What came of a run, from what result.json holds."""
    if result["best"] is not None:
        best = result["best"]
        reporter.line(
            f"best       epoch {best['epoch']}: validation accuracy {best['accuracy']:.4f}, loss {best['loss']:.4f}"
        )
    elif result["status"] == "completed":
        reporter.line(
            f"kept       the last epoch, {result['epochs']}: no validation images, so none is known to be better"
        )
    if result["stopped_early"]:
        reporter.line(f"stopped    early, after epoch {result['epochs']}: no better epoch for a while")
    if result["parameters"]["frozen"]:
        unchanged = "bit-identical to the start" if result["frozen_unchanged"] else "CHANGED: please report this"
        reporter.line(f"frozen     {result['parameters']['frozen']:,} parameters and their statistics: {unchanged}")
    step, full = result["flops_per_step"]["step"], result["flops_per_step"]["full_model"]
    if step and full:
        share = f"{step / full:.0%} of training every layer"
        reporter.line(f"work       {step / 1e9:.2f} of {full / 1e9:.2f} GFLOP a step, {share}")
    reporter.line(f"speed      {result['images_per_second']:.0f} training images/s")


def _first(classes: Sequence[str]) -> str:
    """Names of classes, ten at most."""
    return ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")


def _describe_weights(job: Job) -> str:
    """Where the weights come from; leaves that were not simply loaded are named, all of them are in weights.json."""
    if job.transfer is None:
        return "random"
    lines = [f"{job.transfer.source}: {len(job.transfer.loaded)} arrays loaded (weights.json lists them)"]
    if job.transfer.classifier:
        taken = f", whose outputs are taken for {_first(job.dataset.classes)}, in this order (another: --data.classes)"
        order = "" if Path(job.transfer.source).is_dir() else taken
        lines.append(f"classifier from its layer {job.transfer.classifier}{order}")
    if job.transfer.initialised:
        lines.append(f"new, as initialised: {', '.join(job.transfer.initialised)}")
    if job.transfer.ignored:
        lines.append(f"left out, replaced by the new ones: {', '.join(job.transfer.ignored)}")
    return "; ".join(lines)
