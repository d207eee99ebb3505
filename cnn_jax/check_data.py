"""Say what is wrong with a data set before an epoch is lost on it.

    python -m cnn_jax.check_data photos --html=check.html --write-exclude=exclude.txt

Takes a folder, folder:DIR, flat:DIR, csv:FILE or tfds:NAME. Ends with code 1 where something would break or bias
training. Nothing is changed; files are written only where a flag names them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cnn_jax.api.paths import image_size
from cnn_jax.cli import command_line
from cnn_jax.config import Config
from cnn_jax.errors import EXIT_FAILED, ConfigError, DataError
from cnn_jax.io.escaping import printable
from cnn_jax.io.files import can_hold
from cnn_jax.io.writing import replacing, write_atomically, writing

if TYPE_CHECKING:
    from cnn_jax.checking.check import Report
    from cnn_jax.training.run.logs import Reporter

KINDS_OF_DATASETS = ("folder", "flat", "csv", "tfds")
TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Arguments:
    """Flags of this command, then the fields of the configuration."""

    exp: str | None = None
    """The experiment whose augmentation and image size `--preview` shows: its name, or the path of a .py file."""
    augment: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --exp: preview the usual augmentation, as `train --augment` does it."""
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")] = tyro.MISSING
    """A folder, `folder:DIR`, `flat:DIR`, `csv:FILE` or `tfds:NAME[:CONFIG]`."""
    json: Path | None = None
    """A file for everything that was found, as JSON."""
    html: Path | None = None
    """A file for a page with thumbnails."""
    write_exclude: Path | None = None
    """A file for the list of images to leave out, as --data.exclude takes it."""
    preview: Path | None = None
    """FILE.png for training images beside augmented versions of them, and for some of other proportions than the
    network's as each --data.resize makes them."""
    config: Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = field(default_factory=Config)

    def __post_init__(self) -> None:
        if self.augment and self.exp is None:
            raise ConfigError("--augment changes an experiment: name it with --exp")
        if self.preview is not None and self.preview.suffix != ".png":
            raise ConfigError(f"--preview={self.preview}: the name must end with .png")
        for path in (self.json, self.html, self.write_exclude, self.preview):
            if path is not None and not can_hold(path):
                raise ConfigError(f"{path}: there is no folder {path.parent} to write it into")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, check, print the table, write what was asked for; returns the exit code."""
    arguments = command_line.parse_with_experiment(Arguments, argv, command="check_data", description=__doc__)
    config = replace(arguments.config.data, dataset=dataset_name(arguments.dataset))
    from cnn_jax.checking.check import check  # TensorFlow loads only once the flags are right
    from cnn_jax.checking.listing import list_images
    from cnn_jax.checking.tables import counts_table, findings_table
    from cnn_jax.io.tensorflow import tf
    from cnn_jax.training.run.logs import Reporter

    reporter = Reporter()
    listing = list_images(config)
    tf()  # before the bar: what it says of the speed should be that of reading
    with reporter.bar("check", len(listing), "images") as bar:
        report = check(listing, bar.advance)
    reporter.table(counts_table(listing))
    if report.findings:
        reporter.table(findings_table(report))
    write(report, arguments, reporter)
    if arguments.preview is not None:
        write_preview(report, replace(arguments.config, data=config), arguments.preview, reporter)
    counts = {severity: report.count(severity) for severity in ("problem", "warning", "note")}
    found = ", ".join(f"{count:,} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items())
    reporter.line(f"{len(listing):,} images: {found}")
    return EXIT_FAILED if counts["problem"] else 0


def dataset_name(name: str) -> str:
    """As in `data.dataset`: a plain folder is `folder:DIR`, a plain table `csv:FILE`."""
    kind, colon, _ = name.partition(":")
    if colon and kind in KINDS_OF_DATASETS:
        return name
    return f"csv:{name}" if name.lower().endswith(TABLES) else f"folder:{name}"


def write(report: "Report", arguments: Arguments, reporter: "Reporter") -> None:
    """The files that the flags name.

    Raises:
        DataError: an image that no list can name.
    """
    contents: dict[Path, str | bytes] = {}
    if arguments.json is not None:
        contents[arguments.json] = json.dumps(report.as_json(), indent=1)
    if arguments.html is not None:
        from cnn_jax.checking.page import page

        contents[arguments.html] = page(report)
    if arguments.write_exclude is not None:
        from cnn_jax.checking.exclusion import as_text
        from cnn_jax.data.sources.dataset import TRAINED_ON

        contents[arguments.write_exclude] = as_text(report.listing, report.exclusion)
        for split, class_name in report.exclusion.emptied:
            name = printable(class_name)
            then = "training will refuse it" if split in TRAINED_ON else "nothing will be measured for it there"
            reporter.line(f"the exclude list leaves no image of {name} in {split}: {then}")
    for path, content in contents.items():
        with writing(str(path)):
            write_atomically(path, content)
        reporter.line(f"written    {path}")


def write_preview(report: "Report", config: Config, path: Path, reporter: "Reporter") -> None:
    """Training images that can be read, and what `config` makes of them, as a picture; or the reason for none."""
    from PIL import Image

    from cnn_jax.data import splits
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.data.preview import below, preview, resize_modes
    from cnn_jax.data.sources import open_dataset

    damaged = report.unreadable_ids()
    try:
        train = splits.partition(open_dataset(config.data), config.data.split, config.seed).splits["train"]
    except DataError as error:
        reporter.line(f"no preview: {error}")
        return
    readable = train.take([i for i, id_ in enumerate(train.ids) if id_ not in damaged])
    resize = Resize.of(config.data, image_size(config.model))
    picture, modes = preview(readable, resize, config.data.augment, config.seed), resize_modes(readable, resize)
    with writing(f"--preview={path}"), replacing(path) as temporary:
        Image.fromarray(picture if modes is None else below(picture, modes)).save(temporary, "png")
    augment = config.data.augment
    changes = augment.changes_images or augment.mixes
    reporter.line(f"written    {path}" + ("" if changes else ": nothing is augmented; say --exp or --data.augment.…"))
    if modes is not None:
        reporter.line(f"           below: images of other proportions, by each --data.resize (now: {resize.fit})")


if __name__ == "__main__":
    command_line.run(main)
