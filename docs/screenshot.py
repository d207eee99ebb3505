"""Pictures of pages in a browser, for `docs/pictures.py`. Needs Playwright and Chromium."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from cnn_jax.data.sources import shapes

PICTURES = {"star.png": 60_052, "cross.png": 60_055}
"""Names, and the numbers of the drawn shapes."""
SIDE, WIDTH, HEIGHT, COLOURS = 160, 1000, 760, 96


@contextlib.contextmanager
def browser_page(height: int = HEIGHT) -> Iterator[Page]:
    """An empty page of Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": WIDTH, "height": height})
        browser.close()


def keep(page: Page, target: Path, whole: bool) -> None:
    """What the page shows, as a PNG of few colours."""
    shown = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
    shown.convert("RGB").quantize(COLOURS).save(target, optimize=True)


def report(run: Path, target: Path) -> None:
    """The upper part of a run's report: its figures and the learning curves."""
    with browser_page(height=785) as page:
        page.goto((run / "report.html").resolve().as_uri())
        keep(page, target, whole=False)


def png(number: int) -> bytes:
    """A drawn shape as a file."""
    file = io.BytesIO()
    Image.fromarray(shapes.draw(SIDE, 0, number)).save(file, "png")
    return file.getvalue()


def serve(runs: Sequence[Path], target: Path) -> None:
    """The page of `cnn_jax.serve` with runs that learned drawn shapes, and two of those."""
    command = [sys.executable, "-u", "-m", "cnn_jax.serve", "--port=0", *map(str, runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, browser_page() as page:
        assert server.stdout is not None
        page.goto(next(found[1] for line in server.stdout if (found := re.search(r"^ready +(\S+)", line))))
        for name, number in PICTURES.items():
            page.set_input_files("#files", {"name": name, "mimeType": "image/png", "buffer": png(number)})
            expect(page.locator(f"[aria-label='{name}'] .answer canvas")).to_have_count(len(runs))
        expect(page.get_by_role("status")).to_have_text("")
        keep(page, target, whole=True)
        server.terminate()
        server.communicate()
