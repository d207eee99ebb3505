"""The table of docs/deploy.md: every format of some runs, measured by its own runtime.

    python benchmarks/formats.py runs/quickstart runs/mobilenet_ft --output=exported
    python benchmarks/formats.py runs/vgg16_head --formats litert litert-int8 onnx

Exports each run into a folder of its own name below --output, and prints a table in Markdown: size, accuracy on the
validation images, its paired difference to the run's with the 95 % interval, the largest difference of a probability
and the median time of an image, one at a time. Times are those of this machine, which should have nothing else to do.
"""

import argparse
import json
from pathlib import Path

from cnn_jax.cli import command_line


def main(argv) -> int:
    """Export and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    parser.add_argument("--formats", nargs="+", default=["all"])
    parser.add_argument("--output", type=Path, default=Path("exported"))
    parser.add_argument("--images", type=int, default=1000, help="as --check-images")
    arguments = parser.parse_args(argv)

    from cnn_jax import export
    from cnn_jax.exporting import record, table

    arguments.output.mkdir(exist_ok=True)
    lines, code = [f"| run | {' | '.join(table.HEADS)} |", "|" + "---|" * (len(table.HEADS) + 1)], 0
    for run in arguments.runs:
        folder = arguments.output / run.name
        flags = [f"--checkpoint={run}", f"--output={folder}", f"--check-images={arguments.images}"]
        folder.mkdir(exist_ok=True)
        code = max(code, export.main([*flags, "--format", *arguments.formats]))
        rows = json.loads((folder / record.FILE).read_text())["files"]
        lines += [f"| {run.name} | {' | '.join(table.cells(row))} |" for row in rows.values()]
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    command_line.run(main)
