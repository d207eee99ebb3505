"""Train a small network of one's own, from random weights, to tell cats from dogs.

    python -m cnn_jax.train --exp=simple_cnn_cats_dogs
    python -m cnn_jax.train --exp=simple_cnn_cats_dogs --data.dataset=folder:DIR

Two convolutions of 32 and 64 filters with ReLU and pooling, then one dense layer: 420,802 parameters.
"""

from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="simple_cnn_cats_dogs",
    model=ModelConfig(name="simple_cnn", weights="none", image_size=224, filters=(32, 64), dropout=0.0),
    data=DataConfig(dataset="tfds:cats_vs_dogs", batch_size=32),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
    train=TrainConfig(epochs=10),
)
