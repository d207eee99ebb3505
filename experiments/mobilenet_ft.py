"""Fine-tune MobileNet, pretrained on ImageNet, to tell cats from dogs.

    python -m cnn_jax.train --exp=mobilenet_ft
    python -m cnn_jax.train --exp=mobilenet_ft --data.dataset=folder:DIR      (your own photographs)

The layers before `conv_pw_10` stay as they are, as in the usual Keras course (there, all but the last 23 layers).
"""

from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="mobilenet_ft",
    model=ModelConfig(name="mobilenet", weights="imagenet", alpha=1.0, image_size=224),
    data=DataConfig(dataset="tfds:cats_vs_dogs", batch_size=32),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
    train=TrainConfig(epochs=5, freeze_until="conv_pw_10"),
)
