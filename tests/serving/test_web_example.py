"""examples/web in Chromium, with ONNX Runtime Web from its npm package: the probabilities of the run itself."""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

import cnn_jax
from cnn_jax import export
from tests.data.pictures import encode, photograph, see_through

EXAMPLE = Path(__file__).parents[2] / "examples" / "web"
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PICTURES = {
    "lossless": encode(photograph(301, 200), "PNG"),
    "JPEG": encode(photograph(150, 190), "JPEG", quality=95),
    "see-through": encode(see_through(), "PNG"),
}


@pytest.fixture
def runtime() -> Path:
    """The folder `dist` of the npm package onnxruntime-web."""
    folder = os.environ.get("CNN_JAX_TEST_ORT_WEB", "")
    if not folder or not all((Path(folder) / name).is_file() for name in RUNTIME):
        pytest.skip("needs ONNX Runtime Web: npm pack onnxruntime-web, and set CNN_JAX_TEST_ORT_WEB to its folder dist")
    return Path(folder)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.mark.long
def test_the_page_says_what_the_run_says(
    runtime: Path, chromium: Path, served_runs: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    assert export.main([f"--checkpoint={served_runs[0]}", "--format=onnx", f"--output={tmp_path}"]) == 0
    for source in (*(EXAMPLE / name for name in ("index.html", "classify.js")), *(runtime / name for name in RUNTIME)):
        shutil.copy(source, tmp_path)
    classifier, complaints = cnn_jax.load(served_runs[0]), []
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=tmp_path))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{serving.server_port}/index.html")
        expect(page.locator("#file")).to_be_enabled(timeout=120_000)
        for name, content in PICTURES.items():
            page.set_input_files("#file", {"name": f"{name}.png", "mimeType": "image/png", "buffer": content})
            expect(page.get_by_role("status")).to_contain_text(" ms", timeout=120_000)
            shown = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=True))
            expected = dict(zip(classifier.classes, classifier(content).probabilities[0], strict=True))
            assert len(shown) == 5
            for name_of_class, share in shown.items():
                assert float(share) == pytest.approx(expected[name_of_class], abs=0.005 if name == "JPEG" else 2e-3)
            page.evaluate("document.getElementById('status').textContent = ''")
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
        expect(page.get_by_role("status")).to_contain_text("could not be decoded", timeout=120_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    serving.shutdown()
    serving.server_close()
    assert complaints == []
