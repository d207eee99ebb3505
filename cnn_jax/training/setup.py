"""From a configuration to everything that the training loop needs, before any file changes."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.augment.device import side
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Dataset, check_data_within_reach, open_dataset
from cnn_jax.data.sources.dataset import TRAINED_ON, about_numbers, unmeasured
from cnn_jax.data.stream import steps_per_pass, unreadable
from cnn_jax.errors import ConfigError, DataError, FetchError
from cnn_jax.io.escaping import printable
from cnn_jax.models import quantization
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.models.keras_graph import network as keras_network
from cnn_jax.models.model import Model
from cnn_jax.runtime.clock import Clock
from cnn_jax.training import teacher as teachers
from cnn_jax.training import trained_run
from cnn_jax.training.freezing import count, digest
from cnn_jax.training.loss import resolve_class_weights
from cnn_jax.training.phases import Phase, make_phases
from cnn_jax.training.run import run_directory, trackers
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.shared import Shared
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import StepOptions
from cnn_jax.training.teacher import Teacher
from cnn_jax.weights import class_names, keras_arrays, keras_description, locate, rescaling, transfer
from cnn_jax.weights.readers import keras_h5
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

    @property
    def resize(self) -> Resize:
        """How images of any size become what the network takes."""
        return Resize.of(self.config.data, self.model.image_size)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in an epoch."""
        return _steps_per_epoch(self.config, self.dataset)

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

    def fingerprints(self) -> dict[str, str]:
        """What all processes of a run must have alike."""
        images = {name: (list(split.ids), split.labels.tolist()) for name, split in self.dataset.splits.items()}
        return {
            "configuration": repr(self.config),
            "list of images": repr((self.dataset.classes, images)),
            "initial weights": digest(self.variables),
            "teacher": "" if self.teacher is None else self.teacher.content,
            "set of package versions": repr(run_directory.versions()),
        }

    def description(self) -> dict[str, Any]:
        """What every checkpoint says of its run, so that it can be read with nothing beside it."""
        return {
            "config": asdict(self.config),
            "classes": list(self.dataset.classes),
            "normalisation": self.model.normalisation,
            "resize": asdict(self.resize),
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
            **({"keras_layers": self.keras_layers} if self.keras_layers else {}),
        }


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
        trackers.require(config)
        side(config.data.augment)  # before the data: what is not possible is known at once
        weights_file = _locate_weights(config)
    with clock.part("data"):
        dataset, left_out = open_splits(config, recorded_splits, reporter or Reporter(), shared)
        _require_text(config, dataset)
        _require_validation(config, dataset)
    with clock.part("model and weights"):
        keras_layers = keras_description.of(config.model, weights_file)
        model = build(config.model, len(dataset.classes), config.train.precision, keras_layers)
        _require_size(config, model)
        variables, transferred, notes = _initial_variables(config, model, weights_file, dataset.classes, keras_layers)
        if config.train.quantize is not None:
            model = quantization.prepared(model)
            variables = quantization.with_ranges(model, variables)
        sizes = {name: len(dataset.splits.get(name, ())) for name in ("train", "validation")}
        teacher = teachers.load(config, dataset.classes)
        phases = make_phases(config, model, sizes, _steps_per_epoch(config, dataset))
    labels = dataset.splits["train"].labels
    options = StepOptions(
        config.train.label_smoothing,
        config.train.focal_gamma if config.train.loss == "focal" else None,
        resolve_class_weights(config.train.class_weights, labels, len(dataset.classes)),
        config.optimizer.microbatches,
        config.train.ema_decay,
        config.data.augment,
        distillation=None if teacher is None else teacher.distillation(config),
    )
    loaded = (variables, transferred, keras_layers, notes)
    return Job(config, mesh, dataset, left_out, model, phases, *loaded, options, teacher, clock, shared)


def _require_size(config: Config, model: Model) -> None:
    """Raise ConfigError where a file's network takes images of another size than the configured one."""
    if config.model.image_size != model.image_size:
        raise ConfigError(
            f"model.image_size={config.model.image_size}: the network in {config.model.weights} takes images of "
            f"{model.image_size} pixels"
        )


def _require_text(config: Config, dataset: Dataset) -> None:
    """Raise DataError where a name that every checkpoint has to hold is no text: bytes of a path that are no UTF-8."""
    for name in (config.data.dataset, config.model.weights, *dataset.classes):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{printable(name)}: this name is not UTF-8, so it cannot be saved: rename it") from error


def _require_validation(config: Config, dataset: Dataset) -> None:
    """Raise ConfigError where something goes by the validation, and there is none."""
    if "validation" in dataset.splits:
        return
    by_validation = {
        "train.early_stopping_epochs": config.train.early_stopping_epochs,
        "optimizer.schedule": "plateau" if config.optimizer.schedule == "plateau" else None,
    }
    for name, value in by_validation.items():
        if value is not None:
            raise ConfigError(
                f"{name}={value} goes by validation images, and there are none: leave it out, or give them a share in "
                "data.split"
            )


def _locate_weights(config: Config) -> Path | None:
    """The weights file, or the run; where it cannot be fetched, the error names data that cannot be fetched as well."""
    try:
        return locate.locate(config.model)
    except FetchError as error:
        try:
            check_data_within_reach(config.data)
        except FetchError as other:
            raise FetchError(*error.args, *other.args) from error
        raise


def _steps_per_epoch(config: Config, dataset: Dataset) -> int:
    full_pass = steps_per_pass(len(dataset.splits["train"]), config.data.batch_size)
    return config.data.steps_per_epoch or full_pass


def open_splits(
    config: Config, recorded: Path | None, reporter: Reporter, shared: Shared
) -> tuple[Dataset, dict[str, list[str]]]:
    """The data set with its train and, if there is to be one, validation split, and what could not be read by split.

    Raises:
        UserError: as `set_up`, whose arguments these are.
    """
    data = config.data if recorded is None else replace(config.data, exclude=None)  # a record has what exclude left
    found = shared.once(("data set", data), lambda: _with_order(open_dataset(data)))
    dataset = splits.partition(found, data.split, config.seed) if recorded is None else splits.read(found, recorded)
    if "train" not in dataset.splits:
        raise DataError(f"data.dataset={data.dataset} has no train images: give them a share in data.split")
    if data.unreadable == "error" or recorded is not None:
        return dataset, {}
    drawn_by = None if dataset is found else config.seed
    return shared.once(("readable", data, drawn_by), lambda: _without_unreadable(dataset, reporter))


def _with_order(dataset: Dataset) -> Dataset:
    """The data set with the line that says in which order its classes are, where that may surprise."""
    line = about_numbers(dataset.classes)
    return replace(dataset, notes=(line, *dataset.notes)) if line else dataset


def _initial_variables(
    config: Config, model: Model, source: Path | None, classes: tuple[str, ...], keras_layers: str | None
) -> tuple[Variables, Transfer | None, tuple[str, ...]]:
    """Random variables by the seed, with the pretrained weights in their places; what became of those; and notes.

    `source` is a weights file or a run directory. A head is taken over where it tells the same classes apart.
    """
    if source is None:
        return model.init(config.seed), None, ()
    same_classes, other_inputs, classifier = True, None, None  # as far as a file can tell
    replaced = model.replaced_layers
    notes: tuple[str, ...] = ()
    if source.is_dir():
        run = trained_run.load(source)
        loaded = jax.tree.map(np.asarray, quantization.without_ranges(run.variables))
        same_classes, replaced = run.classes == classes, (*replaced, *run.model.new_layers)
    elif keras_layers is not None:
        network = keras_network.read(keras_layers, config.model.image_size)
        classifier = network.classifier
        names, where = class_names.find(source, network.classes, None) if network.classes else (None, "")
        same_classes = names in (None, classes)
        loaded = keras_arrays.read(source, network.headed(config.model, len(classes)))
        notes = network.notes if network.scaling is None else (f"scales images by {network.scaling}", *network.notes)
        if not same_classes:
            notes += (f"its classes are {', '.join((names or ())[:10])} ({where}): so its classifier is not taken",)
    else:
        loaded = keras_h5.read(source)
        other_inputs = rescaling.difference(source, model.normalisation)
    merged, report = transfer.merge(
        model.shapes,
        loaded,
        new_layers=model.new_layers,
        replaced_layers=replaced,
        depthwise_layers=() if keras_layers else depthwise_layers(model.layers),  # changed as they were read
        source=str(source),
        same_classes=same_classes,
    )
    taken = report.classifier and (classifier or report.classifier)
    return model.init(config.seed, merged), replace(report, other_inputs=other_inputs, classifier=taken), notes


def _without_unreadable(dataset: Dataset, reporter: Reporter) -> tuple[Dataset, dict[str, list[str]]]:
    """The images that can be read, and the names of the others by split."""
    kept, bad, notes = {}, {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        with reporter.bar(f"look for unreadable images in {name}", len(split), "images") as bar:
            found = unreadable(split, bar.advance)
        bad[name] = [split.ids[i] for i in found]
        kept[name] = split.take(np.setdiff1d(np.arange(len(split)), found))
        emptied = [dataset.classes[i] for i in np.setdiff1d(split.labels, kept[name].labels)]
        if emptied and (name in TRAINED_ON or not len(kept[name])):
            raise DataError(f"no image of class {emptied[0]!r} in {name} can be read")
        if emptied:
            notes.append(unmeasured(f"what can be read leaves {name}", emptied))
    return replace(dataset, splits=kept, notes=tuple(notes)), bad
