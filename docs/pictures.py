"""Draw the pictures of docs/concepts.md, and the run whose report the README shows, from drawn shapes alone.

    python docs/pictures.py            (half a minute on two cores; writes docs/images/ and runs/shapes/)

A network of three convolutions is trained on `shapes`; `cnn_jax.explain` looks inside it, and its pictures are put
side by side here. The report's picture in the README is a screenshot of runs/shapes/report.html.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import cnn_jax
from cnn_jax import explain
from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from cnn_jax.data import shapes

IMAGES = Path(__file__).parent / "images"
RUN = Path("runs/shapes")
SIDE, GAP, LABEL = 160, 6, 20
STAR, SHAPES_SIZE = 10_000 * 6 + 4, 64
"""A star that the network has not seen: picture `i` shows class `i % 6`."""

CONFIG = Config(
    name="shapes",
    model=ModelConfig(
        name="simple_cnn",
        weights="none",
        image_size=SHAPES_SIZE,
        filters=(16, 32, 64, 64),
        kernel_size=5,
        batch_norm=True,
        dropout=0.2,
    ),
    data=DataConfig(dataset="shapes", shapes_examples=3000, shapes_size=SHAPES_SIZE),
    optimizer=OptimizerConfig(learning_rate=1e-3, schedule="cosine"),
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
        [str(star), str(digit), f"--checkpoint={RUN}", f"--output={found}", "--layers", "conv1_relu", "conv3_relu"]
    )
    on_star, on_digit = found / "01-star", found / "02-digit"
    save("filters", [("", found / "first-layer-filters.png")], side=400)
    stage = sorted(on_star.glob("stage-conv1_relu-*.png"), key=lambda path: path.name)
    names = [path.stem.split("-", 3)[3] for path in stage]
    save("steps", [("image", on_star / "image.png"), *zip(names, stage, strict=True)])
    layers = ("conv1_relu", "conv3_relu")
    save("features", [(name, on_star / f"features-{name}.png") for name in layers], side=360)
    save(
        "transfer",
        [("a digit", on_digit / "image.png"), *((n, on_digit / f"features-{n}.png") for n in layers)],
        side=300,
    )
    maps = [
        ("Grad-CAM", next(on_star.glob("grad-cam-*star-conv3_relu.png"))),
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
    sheet = Image.new("RGB", (len(pictures) * (side + GAP) + GAP, side + LABEL + 2 * GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for place, (label, path) in enumerate(pictures):
        left = GAP + place * (side + GAP)
        draw.text((left, GAP), label, fill="black", font=font)
        with Image.open(path) as picture:
            scaled = picture.convert("RGB").resize((side, round(side * picture.height / picture.width)))
        sheet.paste(scaled, (left, GAP + LABEL))
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
