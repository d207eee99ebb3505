"""VGG16, pretrained on ImageNet, with its last layer replaced, to tell cats from dogs.

    python -m cnn_jax.train --exp=vgg16_cats_dogs
    python -m cnn_jax.train --exp=vgg16_cats_dogs --augment --data.dataset=folder:DIR

All layers but the last stay as they are, `fc1` and `fc2` too: 8,194 of 134,268,738 parameters train, and without
augmentation the others run once for each image. The weights are a download of 553 MB.

Not measured: the published weights were not at hand. The tests run it with random ones.
"""

from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

config = Config(
    name="vgg16_cats_dogs",
    model=ModelConfig(name="vgg16", top="fc", weights="imagenet", image_size=224, dropout=0.0),
    data=DataConfig(dataset="tfds:cats_vs_dogs", batch_size=32),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
    train=TrainConfig(epochs=5, freeze_until="head"),
)
