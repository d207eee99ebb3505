"""Go on training a network from a Keras file, of your own or somebody else's.

    python -m cnn_jax.train --exp=keras_ft --model.weights=mine.keras --data.dataset=folder:DIR

The file is a whole model, `.keras` or `.h5`: it says which layers there are. All of them train; the classifier stays
where it tells the same classes apart, and is a new one otherwise. `--train.freeze_until=head` trains that alone.
docs/from-keras.md takes each kind of file from here to a fine-tuned network.
"""

from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="keras_ft",
    model=ModelConfig(name="keras", weights="model.keras"),
    data=DataConfig(dataset="tfds:cats_vs_dogs", batch_size=32),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
    train=TrainConfig(epochs=5),
)
