"""What can be wrong, how bad it is, and what to do about it."""

from dataclasses import dataclass, field
from typing import Literal

from cnn_jax.data.pillow import MAX_PIXELS

Severity = Literal["problem", "warning", "note"]
"""A problem would break or bias training; a warning may be what was wanted; a note is dealt with by the reader."""

TINY = 32
"""Pixels of the shorter side, below which a picture is tiny: VGG and MobileNet halve it five times."""

HUGE = 20_000_000
"""Pixels above which a picture is huge: nearly all the time to read it is spent on pixels that resizing throws away."""

EXTREME_ASPECT = 4.0
"""Longer by shorter side, above which squashing to a square leaves little, and so does cropping."""

DARK = 16
"""Of 255: below it are the pixels of a picture of 12 bits in a file of 16."""

IMBALANCE = 2.0
SEVERE_IMBALANCE = 10.0
"""Images of the largest by those of the smallest class in training, above which they are out of balance."""


@dataclass(frozen=True)
class Kind:
    """Something that can be found."""

    name: str
    """As in the JSON."""
    severity: Severity
    title: str
    advice: str


@dataclass(frozen=True)
class Finding:
    """Something that was found."""

    kind: str
    """Name of one of `KINDS`."""
    names: tuple[str, ...]
    """Ids of one image or of the copies of one, or paths of a folder or file that is no example."""
    detail: str = ""
    members: tuple[int, ...] = field(default=(), compare=False)
    """Where the names are examples: their numbers in the listing."""


_ALL = (
    Kind(
        "refused",
        "problem",
        "Training would refuse this data set",
        "The message says what to do.",
    ),
    Kind(
        "unreadable",
        "problem",
        "Cannot be read",
        "Training stops at the first, or skips them with --data.unreadable=skip. Mend or exclude them.",
    ),
    Kind(
        "unreadable_folder",
        "problem",
        "Folder that cannot be read",
        "Nobody knows what is in it, so training stops. Mend its permissions or the disk, or move it away.",
    ),
    Kind(
        "empty_file",
        "problem",
        "Empty file",
        "Copied or downloaded in part? Get it again, or exclude it.",
    ),
    Kind(
        "too_many_pixels",
        "problem",
        "Claims too many pixels",
        f"The header says more than {MAX_PIXELS:,}. Training refuses it before it takes the memory. Exclude it.",
    ),
    Kind(
        "leak",
        "problem",
        "The same picture in two splits",
        "What is measured on it is no measure of new pictures. The exclude list drops the copy in training.",
    ),
    Kind(
        "may_leak",
        "problem",
        "The same picture twice, in a set that will be divided",
        "Splits are drawn at random, so copies may land on both sides. The exclude list keeps one of them.",
    ),
    Kind(
        "two_labels",
        "problem",
        "The same picture in two classes",
        "One of the labels is wrong. The exclude list drops all copies; better keep the right one by hand.",
    ),
    Kind(
        "empty_class",
        "problem",
        "Class without images",
        "Fill the folder, remove it, or leave the class out with --data.classes.",
    ),
    Kind(
        "missing_class",
        "problem",
        "Class that training lacks",
        "Nothing can learn it. Rename its folder, add images to training, or use --data.classes.",
    ),
    Kind(
        "severe_imbalance",
        "problem",
        "Classes far out of balance",
        f"The largest class has more than {SEVERE_IMBALANCE:g} times the images of the smallest. "
        "Add images, or say --train.class_weights=balanced.",
    ),
    Kind(
        "unmeasured_class",
        "warning",
        "Class that validation or test lacks",
        "It is learnt like the others, and nothing is measured for it there. Move some of its images there.",
    ),
    Kind(
        "imbalance",
        "warning",
        "Classes out of balance",
        f"The largest class has more than {IMBALANCE:g} times the images of the smallest. "
        "Consider --train.class_weights=balanced.",
    ),
    Kind(
        "exact_duplicate",
        "warning",
        "The same file twice",
        "Byte for byte, in one split and class: it counts twice. The exclude list keeps one.",
    ),
    Kind(
        "near_duplicate",
        "warning",
        "Nearly the same picture",
        "Scaled, recompressed or slightly changed, in one split and class. The exclude list keeps the largest.",
    ),
    Kind(
        "ignored_image",
        "warning",
        "Picture that training does not see",
        "It is hidden, lies outside the class folders, has no row in the table, or a suffix that is not read.",
    ),
    Kind(
        "unused_row",
        "warning",
        "Row of the table that training does not use",
        "Its file is not there or is no image, it has no label, or names an image again. Mend or remove the row.",
    ),
    Kind(
        "hidden_folder",
        "warning",
        "Hidden folder",
        "Training skips it. Remove it, or rename it if it is a class.",
    ),
    Kind(
        "extension_lies",
        "warning",
        "Content of another format than the suffix says",
        "Training goes by the content; other programs may go by the name. Rename the file.",
    ),
    Kind(
        "blank",
        "warning",
        "Picture of a single colour",
        "Nothing can be learned from it. Look at it.",
    ),
    Kind(
        "nearly_black",
        "warning",
        "Nearly black, of more bits than 8",
        "Its values use a small part of what the file can hold, as 12 of 16 bits. Scale them to 8 bits once.",
    ),
    Kind(
        "tiny",
        "warning",
        f"Shorter side below {TINY} pixels",
        "It is scaled up and stays blurred. Near duplicates are not looked for among such pictures.",
    ),
    Kind(
        "huge",
        "warning",
        f"More than {HUGE // 1_000_000} million pixels",
        "Reading it takes long, at every visit. Scale it down once.",
    ),
    Kind(
        "extreme_aspect",
        "warning",
        f"One side more than {EXTREME_ASPECT:g} times the other",
        "Squashed to the size of a network it is distorted; --data.resize=crop keeps only its middle.",
    ),
    Kind(
        "exif_rotated",
        "note",
        "Turned or mirrored by its EXIF tag",
        "Training turns it upright. Programs that ignore the tag, Keras for one, do not.",
    ),
    Kind("cmyk", "note", "CMYK", "Becomes RGB."),
    Kind("alpha", "note", "Transparency", "White shows through, or what --data.background says."),
    Kind("sixteen_bit", "note", "More than 8 bits a channel", "Scaled from the range of its type to 0 to 255."),
    Kind("floating_point", "note", "Floating point", "Scaled from its own least to its own greatest value."),
    Kind("palette", "note", "Palette", "Becomes RGB."),
    Kind("greyscale", "note", "Greyscale", "Becomes RGB with three equal channels."),
    Kind("animated", "note", "Animation, or several pages", "The first picture is used."),
    Kind("symlink", "note", "Symbolic link", "Training follows it; a copy of the folder may not have what it names."),
    Kind("ignored_file", "note", "File that is no image", "Training does not see it."),
)
KINDS = {kind.name: kind for kind in _ALL}
"""By name, the worst first."""
