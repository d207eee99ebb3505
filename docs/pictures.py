"""Make every picture of the documents, in docs/images: `make pictures`.

    python docs/pictures.py                   (all; needs Chromium, and some minutes)
    python docs/pictures.py report sweep      (those two groups)

Nothing is downloaded: networks are trained on scikit-learn's digits and on drawn shapes, in runs/pictures. The sweep of
docs/sweep.md alone was run on photographs; its picture is drawn from the figures of the table there.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import cnn_jax
from cnn_jax import evaluate, explain, train
from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from cnn_jax.data.sources import shapes
from cnn_jax.sweeping import picture
from cnn_jax.sweeping.rows import COMPLETED, Row

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
RUNS = Path("runs/pictures")
RUN = RUNS / "concepts"
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


def concepts() -> None:
    """Those of docs/concepts.md: train a small network, explain two images, put the pictures side by side."""
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


def report() -> None:
    """The report of the quickstart."""
    import screenshot

    run = RUNS / "quickstart"
    command("train", "--exp=quickstart", f"--workdir={run}", "--report=False")
    command("evaluate", f"--checkpoint={run}")
    screenshot.report(run, IMAGES / "report.png")


def serve() -> None:
    """The page of the server, with two networks that tell drawn shapes apart."""
    import screenshot

    fine_tuned, own = RUNS / "mobilenet", RUNS / "simple_cnn"
    flags = ("--data.dataset=shapes", "--report=False")
    command("train", "--exp=quickstart", "--train.freeze_until=head", f"--workdir={fine_tuned}", *flags)
    command("train", "--exp=simple_cnn_digits", "--model.image_size=64", f"--workdir={own}", *flags)
    screenshot.serve([fine_tuned, own], IMAGES / "serve.png")


def command(name: str, *arguments: str) -> None:
    """Run a command of the package; stop where it fails."""
    code = {"train": train.main, "evaluate": evaluate.main}[name](arguments)
    if code:
        sys.exit(f"error: {name} {' '.join(arguments)} ended with {code}")


def sweep() -> None:
    """The sweep over freeze points, from its table in docs/sweep.md."""
    rows = [
        row(line) for line in (DOCS / "sweep.md").read_text().splitlines() if re.match(r"\| \w+ \| [\d,]+ \|", line)
    ]
    best = max(rows, key=lambda found: found.accuracy or 0)
    (IMAGES / "sweep.png").write_bytes(picture.draw(rows, best))


def row(line: str) -> Row:
    """A row of the table: freeze point, trained parameters, accuracy, its interval, seconds an epoch, and the rest."""
    point, trains, accuracy, interval, seconds, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    low, high = map(float, interval.split(" to "))
    return Row(
        freeze_until=point,
        learning_rate=1e-4,
        note="",
        parameters={"trainable": int(trains.replace(",", ""))},
        status=COMPLETED,
        accuracy=float(accuracy),
        interval=(low, high),
        interval_kind="wilson",
        loss=None,
        seconds_per_epoch=float(seconds),
        memory_bytes=None,
        flops_per_image=None,
        flops_share=None,
        runs=(),
    )


GROUPS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "concepts": (concepts, ("evidence", "features", "filters", "softmax", "steps", "transfer")),
    "report": (report, ("report",)),
    "serve": (serve, ("serve",)),
    "sweep": (sweep, ("sweep",)),
}
"""What makes pictures, and which; tests/test_documents.py holds the folder against it."""


def main(names: list[str]) -> None:
    """Make the pictures of some groups, or of all."""
    for name in names or GROUPS:
        make, made = GROUPS[name]
        print(f"{name}: {', '.join(made)}", flush=True)
        make()


if __name__ == "__main__":
    main(sys.argv[1:])
