"""Draw the pictures of docs/concepts.md from drawn shapes and scikit-learn's digits alone.

    python docs/pictures.py            (writes docs/images/ and runs/concepts/)

A small network is trained on the digits; `cnn_jax.explain` looks inside it, and its pictures are put side
by side here. docs/images/report.png is no part of this: it is a screenshot of runs/quickstart/report.html.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import cnn_jax
from cnn_jax import explain
from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from cnn_jax.data.sources import shapes

IMAGES = Path(__file__).parent / "images"
RUN = Path("runs/concepts")
SIDE, GAP, LABEL = 160, 6, 20
SIZE, DIGIT, STAR = 32, 3, 60_052
"""Pixels of the network's images; the numbers of a digit and of a drawn star (picture `i` shows class `i % 6`)."""

CONFIG = Config(
    name="concepts",
    model=ModelConfig(
        name="simple_cnn",
        weights="none",
        image_size=SIZE,
        filters=(16, 32, 64),
        kernel_size=5,
        batch_norm=True,
        dropout=0.2,
    ),
    data=DataConfig(dataset="digits"),
    optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.5),
    train=TrainConfig(epochs=5, tensorboard=False),
)


def main() -> None:
    """Train, explain two images, put the pictures side by side."""
    IMAGES.mkdir(exist_ok=True)
    cnn_jax.fit(CONFIG, RUN)
    digit, star = RUN / "digit.png", RUN / "star.png"
    _digit().save(digit)
    Image.fromarray(shapes.draw(SIZE, 0, STAR)).save(star)
    found, layers = RUN / "explain", ("relu1", "relu3")
    flags = [f"--checkpoint={RUN}", f"--output={found}", "--classes", str(DIGIT), "--layers", *layers]
    explain.main([str(digit), str(star), *flags])
    on_digit, on_star = found / "01-digit", found / "02-star"
    save("filters", [("", found / "first-layer-filters.png")], side=300)
    stage = sorted(on_digit.glob("stage-relu1-*.png"), key=lambda path: path.name)
    names = [path.stem.split("-", 3)[3] for path in stage]
    save("steps", [("image", on_digit / "image.png"), *zip(names, stage, strict=True)])
    save("features", [(name, on_digit / f"features-{name}.png") for name in layers], side=320)
    save("transfer", [("a star", on_star / "image.png"), *((n, on_star / f"features-{n}.png") for n in layers)], 280)
    maps = [
        ("Grad-CAM", next(on_digit.glob("grad-cam-*relu3.png"))),
        ("occlusion", next(on_digit.glob("occlusion-*.png"))),
    ]
    save("evidence", [("image", on_digit / "image.png"), *maps], side=200)
    softmax(digit)


def _digit() -> Image.Image:
    from sklearn.datasets import load_digits

    pixels = np.round(load_digits().images[DIGIT] / 16 * 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)


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
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True, layout="constrained")
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
