"""Draw docs/images/serve.png: the page of `cnn_jax.serve` with pictures of drawn shapes.

    python docs/screenshot.py runs/mobilenet runs/simple_cnn

The runs are of the data set `shapes`: `--exp=quickstart --data.dataset=shapes --train.freeze_until=head` and
`--exp=simple_cnn_digits --data.dataset=shapes --model.image_size=64`. Needs Playwright and Chromium.
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from cnn_jax.data.sources import shapes

TARGET = Path(__file__).parent / "images" / "serve.png"
PICTURES = {"star.png": 60_052, "cross.png": 60_055}
"""Names, and the numbers of the drawn shapes."""
SIDE, WIDTH, HEIGHT, COLOURS = 160, 1000, 760, 96


def png(number: int) -> bytes:
    """A drawn shape as a file."""
    file = io.BytesIO()
    Image.fromarray(shapes.draw(SIDE, 0, number)).save(file, "png")
    return file.getvalue()


def main() -> None:
    """Start the server, show it the shapes, keep what the browser shows in few colours."""
    command = [sys.executable, "-u", "-m", "cnn_jax.serve", "--port=0", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        address = next(found[1] for line in server.stdout if (found := re.search(r"^ready +(\S+)", line)))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        for name, number in PICTURES.items():
            page.set_input_files("#files", {"name": name, "mimeType": "image/png", "buffer": png(number)})
            expect(page.locator(f"[aria-label='{name}'] .answer canvas")).to_have_count(len(sys.argv) - 1)
        expect(page.get_by_role("status")).to_have_text("")
        shown = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        browser.close()
        server.terminate()
        server.communicate()
    shown.convert("RGB").quantize(COLOURS).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
