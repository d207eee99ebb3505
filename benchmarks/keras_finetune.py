"""The peer: fine-tune Keras' MobileNet or VGG16 on class folders, as a Keras user would; one JSON line at the end.

    KERAS_BACKEND=tensorflow python benchmarks/keras_finetune.py DIR WEIGHTS.h5 --alpha=0.75 --epochs=5

DIR has `train` and `validation`. The same model, optimizer, batch size and freeze point as `mobilenet_ft`.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import keras  # noqa: E402
from keras import layers  # noqa: E402


def main() -> None:
    """Train, then print wall seconds, seconds of each epoch and validation accuracies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--model", choices=("mobilenet", "vgg16"), default="mobilenet")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--freeze-until", default="conv_pw_10")
    arguments = parser.parse_args()

    sets = {}
    for split in ("train", "validation"):
        images = keras.utils.image_dataset_from_directory(
            arguments.directory / split,
            image_size=(224, 224),
            batch_size=arguments.batch,
            shuffle=split == "train",
            seed=0,
        )
        classes = images.class_names
        sets[split] = images.prefetch(2)
    settings = {
        "weights": arguments.weights,
        "input_shape": (224, 224, 3),
        "include_top": not any(part in arguments.weights for part in ("no_top", "notop")),
    }
    if arguments.model == "vgg16":
        body = keras.applications.VGG16(**settings)
        features = body.get_layer("block5_pool").output
        prepare = layers.Lambda(keras.applications.vgg16.preprocess_input)
    else:
        body = keras.applications.MobileNet(alpha=arguments.alpha, **settings)
        features = body.get_layer("conv_pw_13_relu").output
        prepare = layers.Rescaling(1 / 127.5, offset=-1)
    trainable = False
    for layer in body.layers:
        trainable = trainable or layer.name == arguments.freeze_until
        layer.trainable = trainable
    inputs = keras.Input((224, 224, 3))
    x = keras.Model(body.input, features)(prepare(inputs))
    outputs = layers.Dense(len(classes))(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss, metrics=["accuracy"])

    ends = [time.perf_counter()]
    note_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    history = model.fit(
        sets["train"], validation_data=sets["validation"], epochs=arguments.epochs, verbose=0, callbacks=[note_end]
    )
    print(
        json.dumps(
            {
                "wall_seconds": round(time.perf_counter() - STARTED, 1),
                "epoch_seconds": [round(b - a, 1) for a, b in itertools.pairwise(ends)],
                "validation_accuracy": [round(value, 4) for value in history.history["val_accuracy"]],
            }
        )
    )


if __name__ == "__main__":
    main()
