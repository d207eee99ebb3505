"""Pictures as PNG files in folders, and ready for a page."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cnn_jax import html
from cnn_jax.io.writing import replacing


@dataclass(frozen=True)
class Picture:
    """A picture on the page."""

    address: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureFolder:
    """Writes pictures as PNG files into a folder, and makes them ready for the page."""

    folder: Path

    def add(self, name: str, pixels: UInt8[np.ndarray, "h w 3"], caption: str, *, exact: bool = False) -> Picture:
        """Keep a picture as `name`.png; with `exact`, the page has it without the loss of a JPEG."""
        from PIL import Image

        with replacing(self.folder / f"{name}.png") as temporary:
            Image.fromarray(pixels).save(temporary, "png", optimize=True)
        address = html.drawing(pixels) if exact else html.photograph(pixels)
        return Picture(address, caption, pixels.shape[1], pixels.shape[0])

    def below(self, name: str) -> "PictureFolder":
        """An picture_folder in a folder of its own."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return PictureFolder(folder)


def file_name(text: str) -> str:
    """Text as part of a file name: letters, digits, and _ . - for all else."""
    return re.sub(r"[^\w.+-]+", "_", text)[:80]
