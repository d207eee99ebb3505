"""The network and its weights, as configured."""

from dataclasses import dataclass
from typing import Literal

from cnn_jax.config.image_size import ImageSize, of_sides, sides
from cnn_jax.config.validation import check_types, is_finite, require

ModelName = Literal["simple_cnn", "vgg16", "vgg19", "mobilenet", "mobilenet_v2", "keras"]

KERAS_PREFIX = "keras:"
"""Of `model.weights`, before the name of a network of Keras Applications."""
NAMED_WEIGHTS = ("imagenet", "none", "shapes")
"""What `model.weights` may be besides a path."""


@dataclass(frozen=True)
class ModelConfig:
    """The network and the weights that it starts from."""

    name: ModelName = "mobilenet"
    """The architecture; `keras` is the one that the file in `weights` describes."""
    alpha: float = 1.0
    """MobileNet: width multiplier of every layer (pretrained: 0.25, 0.5, 0.75, 1; v2: 0.35, 0.5, 0.75, 1, 1.3, 1.4)."""
    top: Literal["pool", "flatten", "fc"] = "pool"
    """From the convolutions to the new head: `pool`, each channel's mean, `flatten`, all values (simple_cnn always), or
    `fc`, VGG's `fc1` and `fc2`."""
    image_size: ImageSize = 224
    """Rows and columns of the images that the network sees, in pixels: 224, or where they differ 96x128. keras: as the
    file says."""
    channels: Literal[1, 3] = 3
    """3: colours. 1: images are made grey; simple_cnn takes the one channel, the others, as their weights do, three
    equal ones."""
    weights: str = "imagenet"
    """`imagenet`, `none` (random), `shapes` (MobileNet 0.25, comes with the package, for demonstration), the path of a
    Keras .h5, .weights.h5 or .keras file, or of a run directory; for `name=keras` also `keras:EfficientNetB0`, any
    network of Keras Applications, which needs Keras."""
    normalisation: Literal["auto", "tf", "caffe", "torch", "unit", "none"] = "auto"
    """keras: what its network takes. `auto`: the file says; `tf`: -1 to 1; `caffe`: BGR without means; `torch`: by
    means and deviations; `unit`: 0 to 1; `none`: 0 to 255."""
    dense: tuple[int, ...] = ()
    """Widths of hidden layers of the head, fully connected with ReLU, before the classifier: `128`, or `256 128`."""
    head_batch_norm: bool = False
    """Batch normalisation after each of `dense`."""
    dropout: float = 0.001
    """Share of the features dropped in training before the classifier, and after each of `dense`. keras: the file's own
    stays, unless another value than this is given."""
    filters: tuple[int, ...] = (32, 64)
    """simple_cnn: filters of each convolution; a pooling follows each."""
    kernel_size: int = 3
    """simple_cnn: rows and columns of each filter."""
    strides: int = 1
    """simple_cnn: step of the convolutions, in pixels."""
    padding: Literal["same", "valid"] = "same"
    """simple_cnn: `same` pads with zeros so that stride 1 keeps the size; `valid` does not pad."""
    pool_size: int = 2
    """simple_cnn: rows and columns of the max-pooling window."""
    pool_strides: int = 2
    """simple_cnn: step of the max pooling, in pixels."""
    batch_norm: bool = False
    """simple_cnn: batch normalisation between each convolution, then without a bias, and its ReLU."""

    @property
    def adds_dropout(self) -> bool:
        """Whether the new head has dropout of its own: always, but for the default where a file may have some."""
        return self.name != "keras" or self.dropout != ModelConfig.dropout

    def __post_init__(self) -> None:
        check_types(self, "model.")
        require(is_finite(self.alpha) and int(32 * self.alpha) >= 1, "model.alpha", self.alpha, "at least 1/32")
        size = self.image_size
        possible = isinstance(size, int) or len(size) == 2
        rule = "at least 1: a number, or rows and columns"
        require(possible and min(sides(size)) >= 1, "model.image_size", size, rule)
        object.__setattr__(self, "image_size", of_sides(*sides(size)))
        from_file = self.name == "keras"
        rule = "the path of a whole Keras model, .keras or .h5, or of a run, for model.name=keras"
        require(not from_file or self.weights not in NAMED_WEIGHTS, "model.weights", self.weights, rule)
        by_name = self.weights.startswith(KERAS_PREFIX)
        rule = "a path or name without `keras:`, which is for model.name=keras"
        require(from_file or not by_name, "model.weights", self.weights, rule)
        rule = f"auto for model.name={self.name}, which has its own"
        require(from_file or self.normalisation == "auto", "model.normalisation", self.normalisation, rule)
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(bool(self.weights), "model.weights", self.weights, "imagenet, none, shapes or a path")
        positive = bool(self.filters) and min(self.filters) >= 1
        require(positive, "model.filters", self.filters, "one or more positive numbers")
        require(min(self.dense, default=1) >= 1, "model.dense", self.dense, "positive numbers, or none")
        fits = self.top != "fc" or self.name in ("vgg16", "vgg19")
        rule = f"pool or flatten for model.name={self.name}; vgg16 and vgg19 alone have fc"
        require(fits, "model.top", self.top, rule)
        normalises = bool(self.dense) or not self.head_batch_norm
        rule = "False without model.dense, whose layers it follows: --model.dense 128"
        require(normalises, "model.head_batch_norm", self.head_batch_norm, rule)
        for name in ("kernel_size", "strides", "pool_size", "pool_strides"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
