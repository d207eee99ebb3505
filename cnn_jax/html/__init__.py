"""Pages that explain themselves: one file each, without network, light and dark, readable on a phone.

Everything that a template is given is escaped; class and file names may hold anything.
"""

import base64
import functools
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

TEMPLATES = Path(__file__).parent / "templates"
QUALITY = 80
"""Of the JPEGs of photographs."""


@functools.cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """The page that a template of `templates/` gives for these values, as HTML.

    Bytes of file names that are no UTF-8 stand in it as escapes.
    """
    page = _environment().get_template(template).render(**values)
    return page.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Script:
    """A script of `templates/` for a page: it stands between <script> and </script> exactly as it is."""

    text: Any
    policy: str
    """What the page's Content-Security-Policy names it by."""


def script(name: str) -> Script:
    """The script in the file `templates/NAME`."""
    import markupsafe

    text = (TEMPLATES / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(markupsafe.Markup(text), f"'sha256-{digest}'")  # noqa: S704  (a file of this package)


def photograph(pixels: UInt8[np.ndarray, "h w 3"], longest_side: int | None = None) -> str:
    """The address of an embedded JPEG, scaled down to `longest_side` pixels."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if longest_side is not None:
        image.thumbnail((longest_side, longest_side))
    return _embedded(image, "jpeg", quality=QUALITY, optimize=True)


def drawing(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """The address of an embedded PNG, without loss."""
    from PIL import Image

    return _embedded(Image.fromarray(pixels), "png", optimize=True)


def _embedded(image: Any, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
