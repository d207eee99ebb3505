"""How far a run is, beside the arrays of its state."""

from dataclasses import dataclass, replace

from cnn_jax.data.augment.device import Side

Metrics = dict[str, float]


@dataclass(frozen=True)
class Progress:
    """Kept in each checkpoint."""

    phase: int = 0
    """Which of the run's phases the state belongs to (see `phases`)."""
    frozen_digest: str = ""
    """Hash of the frozen parameters and statistics at the beginning of the phase."""
    frozen_unchanged: bool = True
    """Whether the hash was the same at the end of every phase before."""
    seconds: float = 0.0
    """Wall time of all starts up to here."""
    training_seconds: float = 0.0
    """The part of it spent in training steps."""
    flops: float | None = None
    """Floating-point operations of a training step of the phase, as the compiler counts them; None before the first."""
    memory: dict[str, int | None] | None = None
    """Bytes that training takes in the phase: `step` on a device (arguments, results, what is computed in between), and
    `kept`, images or features in the memory of the process."""
    best: Metrics | None = None
    """Of the epoch with the best validation accuracy: epoch, accuracy, loss. None without validation images."""
    plateau: tuple[float, int] | None = None
    """With optimizer.schedule=plateau, the lowest validation loss of the phase and the epochs since; see `plateau`."""
    augments: Side = "host"
    """Which side augments the images; a run that goes on elsewhere keeps to it."""
    last: Metrics | None = None
    """Of the newest epoch's validation: accuracy, loss."""
    images: str = ""
    """Hash of which image is in which split."""

    teacher: str = ""
    """Hash of the teacher's parameters; empty without one."""

    def validated(self, epoch: int, validation: Metrics) -> "Progress":
        """After the validation of an epoch: accuracy and loss. Of equal epochs the newer is the best."""
        best = self.best
        if best is None or (validation["accuracy"], -validation["loss"]) >= (best["accuracy"], -best["loss"]):
            best = {"epoch": epoch, **validation}
        return replace(self, best=best, last=validation)

    def is_best(self, epoch: int) -> bool:
        """Whether no epoch so far was better."""
        return self.best is not None and self.best["epoch"] == epoch
