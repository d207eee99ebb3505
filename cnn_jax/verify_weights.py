"""Certify that a pretrained file gives the same activations here as in Keras, layer by layer.

    python -m cnn_jax.verify_weights --model.name=mobilenet --model.weights=mobilenet_7_5_224_tf.h5

Runs both on the same images; Keras must be installed. Exit code 1 where they differ by more than the tolerance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_jax.cli import command_line
from cnn_jax.config.image_size import ImageSize, in_pixels
from cnn_jax.errors import EXIT_FAILED, ConfigError, DataError
from cnn_jax.io.escaping import printable
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    import numpy as np

    from cnn_jax.weights.verify import Certificate


@dataclass(frozen=True)
class Arguments:
    """Flags of this command."""

    images: Path | None = None
    """A folder of images; None makes some up: noise, ramps and edges."""
    count: int = 8
    """Images that are compared; of a folder, the first."""
    tolerance: float = 1e-4
    """Largest difference allowed, relative to the largest value of the layer."""
    model: PretrainedConfig = field(default_factory=PretrainedConfig)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--count={self.count} is not possible: it must be at least 1")
        if not self.tolerance > 0:
            raise ConfigError(f"--tolerance={self.tolerance} is not possible: it must be above 0")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, compare, print the certificate; returns the exit code."""
    arguments = command_line.parse(
        Arguments,
        argv,
        command="verify_weights",
        description=__doc__,
    )
    from cnn_jax.weights import pretrained  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.weights.verify import certify, made_up_images

    loaded = pretrained.load(arguments.model, need_top=False)
    size = loaded.config.image_size
    images = made_up_images(arguments.count, size) if arguments.images is None else _read(arguments, size)
    print(f"file       {printable(str(loaded.path))}")
    width = f"alpha {loaded.config.alpha:g}, " if loaded.config.name.startswith("mobilenet") else ""
    print(f"model      {loaded.config.name}, {width}{in_pixels(size)}, ", end="")
    print("with classifier" if loaded.has_top else "feature maps only", flush=True)
    certificate = certify(loaded, images)
    print("\n".join(describe(certificate, arguments.tolerance)))
    return 0 if certificate.first_above(arguments.tolerance) is None else EXIT_FAILED


def _read(arguments: Arguments, size: ImageSize) -> "np.ndarray":
    """The first readable images of the folder, uint8[n, h, w, 3]."""
    import numpy as np

    from cnn_jax.data.paths import expand, readable_batches
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.data.sources import FileImages

    assert arguments.images is not None
    paths = expand([arguments.images])[: arguments.count]
    read = readable_batches(FileImages.of(paths, "drop"), len(paths), Resize(size), len(paths))
    batches = [batch["image"][batch["mask"]] for batch in read]
    if not batches:
        raise DataError(f"--images={arguments.images}: none of the first {len(paths)} images can be read")
    return np.concatenate(batches)


def describe(certificate: "Certificate", tolerance: float) -> list[str]:
    """The certificate as lines."""
    width = max(len(difference.layer) for difference in certificate.differences)
    lines = [
        f"sha256     {certificate.sha256}",
        f"md5        {certificate.md5}",
        f"against    Keras {certificate.keras_version} on {certificate.images} images",
        "",
        f"{'layer':{width}}  largest difference  relative to the largest value",
    ]
    for difference in certificate.differences:
        mark = "" if difference.within(tolerance) else "  ABOVE"
        lines.append(f"{difference.layer:{width}}  {difference.absolute:18.2e}  {difference.relative:29.2e}{mark}")
    lines.append("")
    if certificate.same_top5 is not None and certificate.same_best is not None:
        lines.append(
            f"classes    same first: {certificate.same_best:.1%}, same first five: {certificate.same_top5:.1%}"
        )
    first = certificate.first_above(tolerance)
    if first is None:
        worst = max(difference.relative for difference in certificate.differences)
        lines.append(f"equal      every difference is at most {worst:.1e} of the scale (tolerance {tolerance:g})")
    else:
        lines.append(f"DIFFERENT  above {tolerance:g} of the scale from {first.layer} on")
    return lines


if __name__ == "__main__":
    command_line.run(main)
