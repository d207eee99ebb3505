"""Reads weights files that a seed has changed, in a process of its own.

    python -m tests.faults.mutated FOLDER FROM TO

A mutation is aimed at what HDF5 is made of: signatures, addresses, lengths, counts. In every second round the checksums
of the newer format are not looked at: who makes a file to do harm makes them fit. For each seed the process prints a
line of JSON before it reads the file and one after, so that a seed that ends or halts it is known.
"""

import faulthandler
import io
import json
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers import bounded, keras_h5

MEMORY = 2**30
"""Bytes that reading may take on top of what the process has when it starts."""
SECONDS = 120
"""A file that takes longer ends the process, with the place where it was."""
INNER = "model.weights.h5"

SIGNATURES = (
    *(b"TREE", b"HEAP", b"SNOD", b"GCOL"),
    *(b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN"),
)
"""Of HDF5's trees, heaps, tables and headers; the oldest headers have none."""

Content = bytearray
Mutation = Callable[[Content, np.random.Generator], Content]


def _place(content: Content, rng: np.random.Generator, length: int = 1) -> int:
    """Where to change: anywhere, at the start, or just after a signature."""
    kind = rng.integers(4)
    found = _signatures(content) if kind > 1 else []
    if found:
        start = int(rng.choice(found)) + int(rng.integers(4, 96))
    else:
        start = int(rng.integers(0, len(content) if kind else min(len(content), 512)))
    return min(start, max(0, len(content) - length))


def _signatures(content: Content) -> list[int]:
    found = []
    for signature in SIGNATURES:
        at = content.find(signature)
        while at >= 0:
            found.append(at)
            at = content.find(signature, at + 1)
    return found


def flip_bytes(content: Content, rng: np.random.Generator) -> Content:
    for _ in range(rng.integers(1, 9)):
        content[_place(content, rng)] ^= int(rng.integers(1, 256))
    return content


def write_a_number(content: Content, rng: np.random.Generator) -> Content:
    """Lengths, counts and addresses: the ends of their ranges, and other places of the file."""
    for _ in range(rng.integers(1, 4)):
        size = int(rng.choice([1, 2, 4, 8]))
        extremes = [0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), len(content), len(content) - 1]
        places = [*_signatures(content), int(rng.integers(len(content)))]
        number = int(rng.choice(extremes[:2] + places)) if rng.random() < 0.6 else extremes[rng.integers(6)]
        at = _place(content, rng, size)
        content[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return content


def copy_a_number(content: Content, rng: np.random.Generator) -> Content:
    """An address or a length in the place of another."""
    source, target = (_place(content, rng, 8) for _ in range(2))
    content[target : target + 8] = content[source : source + 8]
    return content


def splice(content: Content, rng: np.random.Generator) -> Content:
    """A stretch over another, or put in, or taken out."""
    length = int(rng.integers(1, 512))
    source, target = _place(content, rng, length), _place(content, rng, length)
    stretch = content[source : source + length]
    kind = rng.integers(3)
    content[target : target + (0 if kind == 1 else length)] = b"" if kind == 2 else stretch
    return content


def swap(content: Content, rng: np.random.Generator) -> Content:
    length = int(rng.choice([8, 16, 40, 64, 256]))
    first, second = _place(content, rng, length), _place(content, rng, length)
    one, other = content[first : first + length], content[second : second + length]
    content[first : first + length] = other
    content[second : second + length] = one
    return content


def zero_a_stretch(content: Content, rng: np.random.Generator) -> Content:
    length = int(rng.integers(1, 256))
    at = _place(content, rng, length)
    content[at : at + length] = bytes(len(content[at : at + length]))
    return content


def truncate(content: Content, rng: np.random.Generator) -> Content:
    return content[: rng.integers(0, len(content))]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes,
    flip_bytes,
    write_a_number,
    write_a_number,
    write_a_number,
    copy_a_number,
    splice,
    splice,
    swap,
    zero_a_stretch,
    truncate,
)


def mutate(original: Path, seed: int) -> bytes:
    """The content of the file after one or two mutations: in an archive, of the HDF5 in it or of the archive."""
    rng = np.random.default_rng(seed)
    whole = original.read_bytes()
    inside = original.suffix == ".keras" and rng.random() < 0.8
    members: dict[str, bytes] = {}
    if inside:
        with zipfile.ZipFile(original) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    content = bytearray(members[INNER] if inside else whole)
    for _ in range(rng.integers(1, 3)):
        if content:
            content = MUTATIONS[rng.integers(len(MUTATIONS))](content, rng)
    if not inside:
        return bytes(content)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:  # with the right checksum
        for name, value in (members | {INNER: bytes(content)}).items():
            archive.writestr(name, value)
    return written.getvalue()


def same(first: keras_h5.Leaves, second: keras_h5.Leaves) -> bool:
    """Bit for bit, under the same names."""
    return flat(first) == flat(second)


def flat(leaves: keras_h5.Leaves) -> dict[tuple[str, str, str], tuple[str, tuple[int, ...], bytes]]:
    return {
        (collection, layer, name): (array.dtype.str, array.shape, array.tobytes())
        for collection, layers in leaves.items()
        for layer, arrays in layers.items()
        for name, array in arrays.items()
    }


def outcome(path: Path, expected: keras_h5.Leaves) -> str:
    """`refused`, `equal`, `different`, or `memory` where the limit of the process was met."""
    try:
        leaves = keras_h5.read(path)
    except WeightsError as error:
        return "memory" if isinstance(error.__cause__, MemoryError) else "refused"
    return "equal" if same(leaves, expected) else "different"


def ignore_checksums(ignored: bool, check: Callable[..., None] = bounded.Source.check) -> None:
    """From now on, or no longer."""
    bounded.Source.check = (lambda *_: None) if ignored else check  # type: ignore[method-assign, assignment]


def main(folder: Path, first: int, last: int) -> None:
    """Read the mutants of the files in the folder for the seeds from `first` to before `last`."""
    originals = sorted(folder.glob("original*"))
    expected = [keras_h5.read(original) for original in originals]
    faulthandler.enable()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for seed in range(first, last):
        number = seed % len(originals)
        path = folder / f"mutant{originals[number].suffix}"
        path.write_bytes(mutate(originals[number], seed))
        print(json.dumps({"seed": seed}), flush=True)
        ignore_checksums(seed // len(originals) % 2 == 1)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.thread_time()
        result = outcome(path, expected[number])
        faulthandler.cancel_dump_traceback_later()
        line = {"seed": seed, "file": originals[number].name, "result": result, "s": time.thread_time() - start}
        print(json.dumps(line), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
