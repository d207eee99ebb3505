"""Train the small network, from random weights, on scikit-learn's handwritten digits: no download, a few seconds.

    python -m cnn_jax.train --exp=simple_cnn_digits

Measured: accuracy 0.98 after 10 epochs, 16 s on two CPU cores, start and end included.
"""

from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="simple_cnn_digits",
    model=ModelConfig(name="simple_cnn", weights="none", image_size=16, filters=(32, 64), dropout=0.1),
    data=DataConfig(dataset="digits", batch_size=32),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
    train=TrainConfig(epochs=10),
)
