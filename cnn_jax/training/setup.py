"""From a configuration to everything that the training loop needs, before any file changes."""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp

from cnn_jax.config import Config, DataConfig, ModelConfig
from cnn_jax.config.image_size import as_flag, in_pixels
from cnn_jax.data.augment.device import side
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Dataset
from cnn_jax.data.stream import steps_per_pass
from cnn_jax.errors import ConfigError
from cnn_jax.models import quantization
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.runtime.clock import Clock
from cnn_jax.training import teacher as teachers
from cnn_jax.training.examples import open_splits, require_text, require_validation
from cnn_jax.training.freezing import count, digest
from cnn_jax.training.initial_weights import initial_variables, locate_weights
from cnn_jax.training.loss import resolve_class_weights
from cnn_jax.training.phases import Phase, make_phases
from cnn_jax.training.run import run_directory, trackers
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.shared import Shared
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import StepOptions
from cnn_jax.training.teacher import Teacher
from cnn_jax.weights import keras_description
from cnn_jax.weights.transfer import Transfer


@dataclass(frozen=True)
class Job:
    """A run that is ready to start."""

    config: Config
    mesh: Mesh
    dataset: Dataset
    left_out: dict[str, list[str]]
    """Images that cannot be read, by split; empty where data.unreadable=error, and where a run goes on."""
    model: Model
    phases: tuple[Phase, ...]
    variables: Variables
    """Before the first step."""
    transfer: Transfer | None
    """What became of the pretrained weights; None for random ones."""
    keras_layers: str | None
    """Of model.name=keras, the file's description of its layers."""
    notes: tuple[str, ...]
    """What was read off the file, a sentence each."""
    options: StepOptions
    teacher: Teacher | None = None
    clock: Clock = field(default_factory=Clock)
    """Of this start."""
    shared: Shared = field(default_factory=Shared)
    """What it has in common with other runs of this process."""
    recorded_splits: Path | None = None
    """The split.json that its splits are of; None where they were drawn."""

    @property
    def resize(self) -> Resize:
        """How images of any size become what the network takes."""
        return Resize.of(self.config.data, self.model.image_size)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in an epoch."""
        return _steps_per_epoch(self.config.data, self.dataset)

    @property
    def steps(self) -> int:
        """Training steps of the whole run."""
        return self.config.train.epochs * self.steps_per_epoch

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers of parameters: total, and trainable and frozen in the last phase."""
        trainable, frozen = (count(part) for part in self.phases[-1].freezing.split(self.variables["params"]))
        return {"total": trainable + frozen, "trainable": trainable, "frozen": frozen}

    def initial_state(self, phase: int = 0) -> TrainState:
        """The state before the first step, on all devices; a copy, since steps consume their input.

        Args:
            phase: the one whose optimizer it has.
        """
        chosen, averaged = self.phases[phase], self.config.train.ema_decay is not None

        @jax.jit  # one program: of its operations, each shape would be compiled on its own
        def create(variables: Variables, settings: Settings) -> TrainState:
            copied = jax.tree.map(jnp.copy, (variables, settings))
            return TrainState.create(copied[0], chosen.optimizer, chosen.freezing, copied[1], averaged)

        return self.mesh.replicate(create(self.variables, Settings.of(self.config.seed, chosen.schedule)))


def set_up(
    config: Config,
    recorded_splits: Path | None,
    reporter: Reporter | None = None,
    shared: Shared | None = None,
    clock: Clock | None = None,
) -> Job:
    """Find the data, build the model, load the weights.

    Args:
        recorded_splits: the split.json of an earlier start of this run; None draws the splits by the seed.
        reporter: where the search for unreadable images shows its progress.
        shared: what other runs of this process have made already.

    Raises:
        UserError: what is wrong, and the fix.
    """
    shared, clock = shared or Shared(), clock or Clock()
    with clock.part("devices"):
        mesh = Mesh.create()
    part = config.data.batch_size // config.optimizer.microbatches
    mesh.check_batch_size(part, "data.batch_size" if part == config.data.batch_size else "a microbatch")
    mesh.check_batch_size(config.data.eval_batch_size, "data.eval_batch_size")
    with clock.part("model and weights"):
        trackers.require(config.train.trackers)
        side(config.data.augment)  # before the data: what is not possible is known at once
        weights_file = locate_weights(config)
    with clock.part("data"):
        dataset, left_out = open_splits(config, recorded_splits, reporter or Reporter(), shared)
        require_text(config, dataset)
        require_validation(config, dataset)
    with clock.part("model and weights"):
        keras_layers = keras_description.of(config.model, weights_file)
        model = build(config.model, len(dataset.classes), config.train.precision, keras_layers)
        _require_size(config.model, model)
        variables, transferred, notes = initial_variables(config, model, weights_file, dataset.classes, keras_layers)
        if config.train.quantize is not None:
            model = quantization.prepared(model)
            variables = quantization.with_ranges(model, variables)
        sizes = {name: len(dataset.splits.get(name, ())) for name in ("train", "validation")}
        teacher = teachers.load(config, dataset.classes)
        phases = make_phases(config, model, sizes, _steps_per_epoch(config.data, dataset))
    options = _step_options(config, dataset, teacher)
    loaded = (variables, transferred, keras_layers, notes)
    return Job(
        config, mesh, dataset, left_out, model, phases, *loaded, options, teacher, clock, shared, recorded_splits
    )


def fingerprints(job: Job) -> dict[str, str]:
    """What all processes of a run must have alike."""
    images = {name: (list(split.ids), split.labels.tolist()) for name, split in job.dataset.splits.items()}
    return {
        "configuration": repr(job.config),
        "list of images": repr((job.dataset.classes, images)),
        "initial weights": digest(job.variables),
        "teacher": "" if job.teacher is None else job.teacher.content,
        "set of package versions": repr(run_directory.versions()),
    }


def _step_options(config: Config, dataset: Dataset, teacher: Teacher | None) -> StepOptions:
    """How the steps compute, before a phase decides where images are augmented."""
    return StepOptions(
        config.train.label_smoothing,
        config.train.focal_gamma if config.train.loss == "focal" else None,
        resolve_class_weights(config.train.class_weights, dataset.splits["train"].labels, len(dataset.classes)),
        config.optimizer.microbatches,
        config.train.ema_decay,
        config.data.augment,
        distillation=None if teacher is None else teacher.distillation(config.train),
    )


def _require_size(config: ModelConfig, model: Model) -> None:
    """Raise ConfigError where a file's network takes images of another size than the configured one."""
    if config.image_size != model.image_size:
        raise ConfigError(
            f"model.image_size={as_flag(config.image_size)}: the network in {config.weights} takes images of "
            f"{in_pixels(model.image_size)}"
        )


def _steps_per_epoch(config: DataConfig, dataset: Dataset) -> int:
    full_pass = steps_per_pass(len(dataset.splits["train"]), config.batch_size)
    return config.steps_per_epoch or full_pass
