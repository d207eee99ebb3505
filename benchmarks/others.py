"""How well a run tells images of none of its classes: by the distance of their features, and by the probability.

    python -m cnn_jax.evaluate --checkpoint=runs/cats --features
    python benchmarks/others.py runs/cats photos/of/something/else

Known are the validation images of the run. AUROC: the chance that a known image is nearer, or more probable, than
another. FPR95: the share of the others that are taken for known where 95 % of the known images are.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import cnn_jax
from cnn_jax.data import splits
from cnn_jax.data.paths import expand
from cnn_jax.data.sources import open_dataset
from cnn_jax.training import trained_run


def scores(run: Path, paths: list[str]) -> dict[str, np.ndarray]:
    """Of each image, higher where it is rather known."""
    found = cnn_jax.load(run, other=0.95)(paths)
    assert found.distances is not None
    return {"highest probability": found.probabilities.max(-1), "distance": -found.distances}


def own(run: Path) -> list[str]:
    """The validation images of a run, as files."""
    config = trained_run.load(run).config
    examples = splits.read(open_dataset(config.data), run / "split.json").splits["validation"]
    folder = config.data.dataset.partition(":")[2]
    return [os.path.join(folder, name) for name in examples.ids]


def main() -> None:
    """Print a line for each score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("others", nargs="+", help="folders of images of none of the classes")
    arguments = parser.parse_args()
    known, others = scores(arguments.run, own(arguments.run)), scores(arguments.run, expand(arguments.others))
    for name in known:
        mine, theirs = known[name], others[name]
        labels = np.repeat([1, 0], [len(mine), len(theirs)])
        area = roc_auc_score(labels, np.concatenate([mine, theirs]))
        accepted = float((theirs >= np.quantile(mine, 0.05)).mean())
        print(f"{name:<22}{len(mine):>6} known{len(theirs):>6} others   AUROC {area:.3f}   FPR95 {accepted:.3f}")


if __name__ == "__main__":
    main()
