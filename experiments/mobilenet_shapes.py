"""Train a narrow MobileNet from random weights on drawn shapes: what `--model.weights=shapes` was made with.

    python -m cnn_jax.train --exp=mobilenet_shapes
    python -m cnn_jax.export --checkpoint=runs/mobilenet_shapes --format=keras-h5 --top=False

The second command writes the weights without the classifier, as the package has them.

Measured: accuracy 0.980 on 2,400 validation pictures after 12 epochs, about four minutes on two shared CPU cores (the
last 1,115 of its 1,800 steps took 153 s, start included). Flipped pictures are four times as many: without flips, 6,400
(then harder) pictures were learned by heart in 16 epochs, 0.97 against 0.81.
"""

from cnn_jax.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="mobilenet_shapes",
    model=ModelConfig(name="mobilenet", weights="none", alpha=0.25, image_size=64),
    data=DataConfig(
        dataset="shapes",
        shapes_examples=12_000,
        batch_size=64,
        augment=AugmentConfig(horizontal_flip=True, vertical_flip=True),
    ),
    optimizer=OptimizerConfig(name="adam", learning_rate=3e-3, schedule="cosine", warmup_epochs=1),
    train=TrainConfig(epochs=12),
)
