"""Draw the pictures of docs/concepts.md from drawn shapes and scikit-learn's digits alone.

    python docs/pictures.py            (writes docs/images/ and runs/concepts/)

A small network is trained on three of the `shapes`; `cnn_jax.explain` looks inside it, and its pictures are put side
by side here. docs/images/report.png is no part of this: it is a screenshot of runs/quickstart/report.html.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import cnn_jax
from cnn_jax import explain
from cnn_jax.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from cnn_jax.data import shapes

IMAGES = Path(__file__).parent / "images"
RUN = Path("runs/concepts")
SIDE, GAP, LABEL = 160, 6, 20
STAR, SHAPES_SIZE = 60_052, 48
"""A star that the network has not seen: picture `i` shows class `i % 6`."""

# The strong weight decay takes the random start out of the filters, so that what is left is what was learned.
CONFIG = Config(
    name="concepts",
    model=ModelConfig(
        name="simple_cnn",
        weights="none",
        image_size=SHAPES_SIZE,
        filters=(16, 32, 64),
        kernel_size=5,
        batch_norm=True,
        dropout=0.2,
    ),
    data=DataConfig(
        dataset="shapes",
        shapes_examples=5000,
        shapes_size=SHAPES_SIZE,
        classes=("circle", "cross", "star"),
        augment=AugmentConfig(horizontal_flip=True, vertical_flip=True),
    ),
    optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, schedule="cosine", weight_decay=0.5),
    train=TrainConfig(epochs=8, tensorboard=False),
)


def main() -> None:
    """Train, explain two images, put the pictures side by side."""
    IMAGES.mkdir(exist_ok=True)
    cnn_jax.fit(CONFIG, RUN)
    star, digit = RUN / "star.png", RUN / "digit.png"
    Image.fromarray(shapes.draw(SHAPES_SIZE, 0, STAR)).save(star)
    _digit().save(digit)
    found = RUN / "explain"
    explain.main(
        [
            str(star),
            str(digit),
            f"--checkpoint={RUN}",
            f"--output={found}",
            "--classes",
            "star",
            "--layers",
            "relu1",
            "relu3",
        ]
    )
    on_star, on_digit = found / "01-star", found / "02-digit"
    save("filters", [("", found / "first-layer-filters.png")], side=400)
    stage = sorted(on_star.glob("stage-relu1-*.png"), key=lambda path: path.name)
    names = [path.stem.split("-", 3)[3] for path in stage]
    save("steps", [("image", on_star / "image.png"), *zip(names, stage, strict=True)])
    layers = ("relu1", "relu3")
    save("features", [(name, on_star / f"features-{name}.png") for name in layers], side=360)
    save(
        "transfer",
        [("a digit", on_digit / "image.png"), *((n, on_digit / f"features-{n}.png") for n in layers)],
        side=300,
    )
    maps = [
        ("Grad-CAM", next(on_star.glob("grad-cam-*star-relu3.png"))),
        ("occlusion", next(on_star.glob("occlusion-*star.png"))),
    ]
    save("evidence", [("image", on_star / "image.png"), *maps], side=220)
    softmax(star)


def _digit() -> Image.Image:
    from sklearn.datasets import load_digits

    pixels = np.round(load_digits().images[3] / 16 * 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((SHAPES_SIZE, SHAPES_SIZE), Image.Resampling.BICUBIC)


def save(name: str, pictures: list[tuple[str, Path]], side: int = SIDE) -> None:
    """The pictures in a row, each below its label, as NAME.png of few colours."""
    scaled = []
    for _, path in pictures:
        with Image.open(path) as picture:
            scaled.append(picture.convert("RGB").resize((side, round(side * picture.height / picture.width))))
    height = LABEL + 2 * GAP + max(picture.height for picture in scaled)
    sheet = Image.new("RGB", (len(pictures) * (side + GAP) + GAP, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for place, ((label, _), picture) in enumerate(zip(pictures, scaled, strict=True)):
        left = GAP + place * (side + GAP)
        draw.text((left, GAP), label, fill="black", font=font)
        sheet.paste(picture, (left, GAP + LABEL))
    sheet.quantize(128).save(IMAGES / f"{name}.png", optimize=True)


def softmax(path: Path) -> None:
    """Logits of the last layer beside what softmax makes of them, as bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    classifier = cnn_jax.load(RUN)
    probabilities = classifier(path).probabilities[0].astype(np.float64)
    logits = np.log(probabilities) - np.log(probabilities).mean()  # up to a constant, which softmax does not see
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True, layout="constrained")
    for axis, values, title in zip(axes, (logits, probabilities), ("logits", "softmax: probabilities"), strict=True):
        bars = axis.barh(classifier.classes, values, color="#4269d0")
        axis.bar_label(bars, fmt="{:.2g}", padding=3, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(IMAGES / "softmax.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
