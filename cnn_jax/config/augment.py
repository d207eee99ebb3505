"""Random changes to the training images, as configured."""

import math
from dataclasses import dataclass, field
from typing import Literal

from cnn_jax.config.validation import check_types, is_finite, require

FillMode = Literal["nearest", "reflect", "constant", "wrap"]
Shift = float | tuple[float, ...]
Range = tuple[float, float]


def _require_range(
    name: str, value: Range, *, above: float = 0, or_equal: bool = False, at_most: float = math.inf
) -> None:
    bounds = f"{'at least' if or_equal else 'above'} {above:g}" + (
        f", at most {at_most:g}" if at_most < math.inf else ""
    )
    possible = len(value) == 2 and all(is_finite(end, above=above, or_equal=or_equal) for end in value)
    possible = possible and value[0] <= value[1] <= at_most
    require(possible, name, value, f"two numbers, the smaller one first, {bounds}")


@dataclass(frozen=True)
class ColourJitterConfig:
    """Random brightness, contrast, saturation and hue, in this order."""

    brightness: float = 0.0
    """Multiply by 1 - brightness to 1 + brightness."""
    contrast: float = 0.0
    """Multiply the distance from the mean grey of the image by 1 - contrast to 1 + contrast."""
    saturation: float = 0.0
    """Multiply the distance of each pixel from its own grey by 1 - saturation to 1 + saturation."""
    hue: float = 0.0
    """Turn the hue by up to this share of the colour circle either way; 0.5 is all the way to the opposite colour."""

    def __post_init__(self) -> None:
        check_types(self, "data.augment.jitter.")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(is_finite(value, or_equal=True), f"data.augment.jitter.{name}", value, "0 or more")
        require(0 <= self.hue <= 0.5, "data.augment.jitter.hue", self.hue, "between 0 and 0.5")

    @property
    def is_on(self) -> bool:
        """Whether it changes anything."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


@dataclass(frozen=True)
class RandAugmentConfig:
    """RandAugment (Cubuk et al., 2020): so many random operations, all of one strength."""

    operations: int = 0
    """N of the paper: operations that each image goes through, drawn from the paper's 14; 0 is off."""
    magnitude: float = 9.0
    """M of the paper: how strong they are, from 0 to 10."""

    def __post_init__(self) -> None:
        check_types(self, "data.augment.rand_augment.")
        require(self.operations >= 0, "data.augment.rand_augment.operations", self.operations, "0 or more")
        require(0 <= self.magnitude <= 10, "data.augment.rand_augment.magnitude", self.magnitude, "between 0 and 10")


@dataclass(frozen=True)
class ErasingConfig:
    """Random erasing (Zhong et al., 2020): something else in the place of a random rectangle."""

    probability: float = 0.0
    """Share of the images that lose a rectangle."""
    area: Range = (0.02, 0.4)
    """Least and greatest share of the image's area."""
    ratio: Range = (0.3, 1 / 0.3)
    """Least and greatest width of the rectangle as a multiple of its height."""
    fill: Literal["noise", "constant"] = "noise"
    """What is put there: random pixels, or data.augment.fill_value."""

    def __post_init__(self) -> None:
        check_types(self, "data.augment.erasing.")
        require(0 <= self.probability <= 1, "data.augment.erasing.probability", self.probability, "between 0 and 1")
        _require_range("data.augment.erasing.area", self.area, at_most=1)
        _require_range("data.augment.erasing.ratio", self.ratio)


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to each training image, drawn anew at every visit; all off by default."""

    horizontal_flip: bool = False
    """Mirror left and right with probability 1/2."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability 1/2."""
    rotation: float = 0.0
    """Turn by up to so many degrees either way."""
    width_shift: Shift = 0.0
    """Move left or right by up to this fraction of the width, or from 1 on by up to so many pixels. Several numbers: by
    one of them, either way."""
    height_shift: Shift = 0.0
    """Move up or down, in the same way."""
    shear: float = 0.0
    """Shear by up to so many degrees either way."""
    zoom: float | Range = 0.0
    """Take in more or less of the image: rows and columns, each on its own, by 1 - zoom (nearer) to 1 + zoom (farther);
    two numbers: from the one to the other."""
    fill_mode: FillMode = "nearest"
    """What fills the pixels that come from outside the image."""
    fill_value: float = 0.0
    """fill_mode=constant: the grey level, 0 to 255, before the network's own normalisation."""
    channel_shift: float = 0.0
    """Add up to so many grey levels of 255 to all channels, or take them away, within the image's own range."""
    brightness: Range | None = None
    """Multiply by a factor from the one number to the other (1: as it is). None: leave it."""
    compatibility: Literal["none", "keras"] = "none"
    """keras: move images as ImageDataGenerator does, with width_shift and height_shift in each other's place."""
    crop_area: Range | None = None
    """Random resized crop: cut out from the one to the other share of the area of the photograph as it is on disk, and
    resize that. Images are then decoded anew at every visit (see `data.memory_megabytes`). None: no crop."""
    crop_ratio: Range = (3 / 4, 4 / 3)
    """crop_area: least and greatest width of what is cut out as a multiple of its height."""
    jitter: ColourJitterConfig = field(default_factory=ColourJitterConfig)
    rand_augment: RandAugmentConfig = field(default_factory=RandAugmentConfig)
    erasing: ErasingConfig = field(default_factory=ErasingConfig)
    on: Literal["auto", "host", "device"] = "auto"
    """Where all of this but mixing is done: by the host's cores, or inside the training step. auto: in the step on
    GPUs, else by the host; a run keeps to the side that it began with. crop_area is always the host's."""
    mixup: float = 0.0
    """Blend each image and its label with another one's (Zhang et al., 2018), by a share from Beta(mixup, mixup).
    Where cutmix is also on, each image takes one of the two at random."""
    cutmix: float = 0.0
    """Paste a rectangle of another image (Yun et al., 2019), of an area from Beta(cutmix, cutmix), and share the
    label."""

    def __post_init__(self) -> None:
        check_types(self, "data.augment.")
        for name in ("rotation", "mixup", "cutmix"):
            value = getattr(self, name)
            require(is_finite(value, or_equal=True), f"data.augment.{name}", value, "0 or more")
        for name in ("width_shift", "height_shift"):
            value = getattr(self, name)
            sizes = value if isinstance(value, tuple) else (value,)
            possible = bool(sizes) and all(is_finite(size, or_equal=True) for size in sizes)
            require(possible, f"data.augment.{name}", value, "0 or more, or several such numbers")
        require(0 <= self.shear < 90, "data.augment.shear", self.shear, "at least 0 and below 90 degrees")
        if isinstance(self.zoom, tuple):
            _require_range("data.augment.zoom", self.zoom)
        else:
            require(0 <= self.zoom < 1, "data.augment.zoom", self.zoom, "at least 0 and below 1, or two such factors")
        for name in ("fill_value", "channel_shift"):
            require(0 <= getattr(self, name) <= 255, f"data.augment.{name}", getattr(self, name), "between 0 and 255")
        if self.brightness is not None:
            _require_range("data.augment.brightness", self.brightness, or_equal=True)
        if self.crop_area is not None:
            _require_range("data.augment.crop_area", self.crop_area, at_most=1)
        _require_range("data.augment.crop_ratio", self.crop_ratio)

    @property
    def zoom_range(self) -> Range:
        """The least and the greatest factor of `zoom`."""
        return self.zoom if isinstance(self.zoom, tuple) else (1 - self.zoom, 1 + self.zoom)

    @property
    def reads_originals(self) -> bool:
        """Whether it needs the images before they are resized."""
        return self.crop_area is not None

    @property
    def resamples(self) -> bool:
        """Whether pixels of the result lie between those of the image."""
        shifts = self.width_shift not in (0, (0,)) or self.height_shift not in (0, (0,))
        return any((self.reads_originals, self.rotation, shifts, self.shear, self.zoom_range != (1, 1)))

    @property
    def changes_images(self) -> bool:
        """Whether an image differs from visit to visit, its mixing with others aside."""
        return any(
            (
                self.resamples,
                self.horizontal_flip,
                self.vertical_flip,
                self.channel_shift,
                self.brightness not in (None, (1, 1)),
                self.jitter.is_on,
                self.rand_augment.operations,
                self.erasing.probability,
            )
        )

    @property
    def mixes(self) -> bool:
        """Whether the images of a batch are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


USUAL = AugmentConfig(
    rotation=10, width_shift=0.1, height_shift=0.1, shear=0.15, zoom=0.1, channel_shift=10, horizontal_flip=True
)
"""What `--augment` stands for: the arguments that a course in Keras gives to ImageDataGenerator, degrees included."""
