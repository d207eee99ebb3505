"""Made-up photographs, and a data set with every defect once."""

import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

STRANGE = "<b>[bold]\x1b[31m\u202e"
"""A name with HTML, markup of rich, a terminal escape and a mark that turns the writing direction."""


def photograph(seed: int, size: tuple[int, int] = (80, 72)) -> Image.Image:
    """Coloured clouds, different for every seed, with large and small shapes as in a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **{"quality": 92, **options} if path.suffix in (".jpg", ".JPG") else options)
    return path


def clean(root: Path, each: int = 6) -> Path:
    """`train` and `validation` with `cat` and `dog`, `each` photographs a class and split."""
    folders = [root / split / name for split in ("train", "validation") for name in ("cat", "dog")]
    for number, folder in enumerate(folders):
        for i in range(each):
            save(folder / f"{i}.jpg", photograph(100 * number + i))
    return root


def png(width: int, height: int, depth: int, content: bytes) -> bytes:
    """A PNG file in RGB with this header, of so many bits a channel; `content` is that of its rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(width: int, height: int) -> bytes:
    """A small file whose header claims this size."""
    return png(width, height, 8, b"")


def png16(size: int = 50) -> bytes:
    """Noise of 16 bits a channel, in rows that begin with the number of no filter."""
    rng = np.random.default_rng(5)
    return png(size, size, 16, b"".join(b"\0" + rng.bytes(size * 6) for _ in range(size)))


def defective(root: Path) -> dict[str, set[tuple[str, ...]]]:
    """A clean set in `root` with each defect planted once; what should be found: kind to names."""
    clean(root)
    cat, dog, valid = root / "train/cat", root / "train/dog", root / "validation"
    planted: dict[str, set[tuple[str, ...]]] = {}

    def plant(kind: str, *paths: Path) -> None:
        names = tuple(sorted(str(path.relative_to(root)) + ("/" if path.is_dir() else "") for path in paths))
        planted.setdefault(kind, set()).add(names)

    whole = (cat / "0.jpg").read_bytes()
    files = {
        "unreadable": (cat / "cut.jpg", whole[: len(whole) // 2]),
        "empty_file": (cat / "zero.png", b""),
        "too_many_pixels": (cat / "bomb.png", bomb(60_000, 60_000)),
        "sixteen_bit": (cat / "deep.png", png16()),
        "ignored_file": (cat / "notes.txt", b"none"),
    }
    for kind, (path, content) in files.items():
        path.write_bytes(content)
        plant(kind, path)
    pictures: dict[str, tuple[Path, Image.Image, dict[str, Any]]] = {
        "tiny": (dog / "tiny.png", photograph(1001, (31, 40)), {}),
        "huge": (dog / "huge.png", Image.new("1", (5000, 4001)), {}),
        "extreme_aspect": (dog / "wide.png", photograph(1002, (205, 50)), {}),
        "cmyk": (dog / "cmyk.jpg", photograph(1003).convert("CMYK"), {}),
        "alpha": (dog / "alpha.png", photograph(1004).convert("RGBA"), {}),
        "palette": (dog / "palette.png", photograph(1005).quantize(64), {}),
        "greyscale": (dog / "grey.jpg", photograph(1006).convert("L"), {}),
        "animated": (dog / "moving.gif", photograph(1007), {"save_all": True, "append_images": [photograph(1008)]}),
        "exif_rotated": (dog / "lying.jpg", photograph(1009), {"exif": _orientation(6)}),
    }
    for kind, (path, image, options) in pictures.items():
        plant(kind, save(path, image, **options))
    plant("blank", dog / "huge.png")
    plant("greyscale", dog / "huge.png")
    plant("extension_lies", save(dog / "really.png", photograph(1010)).rename(dog / "lie.jpg"))
    plant("symlink", _link(dog / "link.jpg", save(root.parent / "elsewhere.jpg", photograph(1011))))
    plant("exact_duplicate", cat / "1.jpg", _copy(cat / "1.jpg", cat / "copy.jpg"))
    plant("near_duplicate", cat / "2.jpg", save(cat / "near.jpg", _open(cat / "2.jpg").resize((60, 54)), quality=60))
    plant("leak", cat / "3.jpg", _copy(cat / "3.jpg", valid / "cat/leak.jpg"))
    plant("two_labels", cat / "4.jpg", save(dog / "twin.jpg", _open(cat / "4.jpg"), quality=50))
    (cat / "phone.svg").write_bytes(b"<svg/>")
    plant("ignored_image", cat / "phone.svg")
    plant("floating_point", save(dog / "float.tif", _floats(1012)))
    plant("greyscale", dog / "float.tif")
    plant("nearly_black", save(dog / "dark.png", _twelve_bits(1016)))
    plant("sixteen_bit", dog / "dark.png")
    plant("greyscale", dog / "dark.png")
    plant("ignored_image", save(root / "train/stray.jpg", photograph(1013)))
    plant("hidden_folder", save(root / "train/.old/1.jpg", photograph(1014)).parent)
    plant("alpha", save(dog / f"{STRANGE}.png", photograph(1015).convert("RGBA")))
    return planted


def _floats(seed: int) -> Image.Image:
    return Image.fromarray(np.asarray(photograph(seed).convert("L")) / np.float32(7))


def _twelve_bits(seed: int) -> Image.Image:
    return Image.fromarray(np.asarray(photograph(seed).convert("L")).astype(np.uint16) << 4)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def _copy(source: Path, target: Path) -> Path:
    return Path(shutil.copyfile(source, target))


def _link(path: Path, target: Path) -> Path:
    os.symlink(target, path)
    return path


def _orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif
