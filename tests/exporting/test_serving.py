"""A server of exported files: answered as their run is, but without a picture of where they look."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from playwright.sync_api import expect, sync_playwright

import cnn_jax
from tests.data.pictures import encode, photograph
from tests.serving.conftest import Server
from tests.serving.test_page import bring, open_page, settled

pytestmark = pytest.mark.long
PICTURE = encode(photograph(), "JPEG")
FILES = ("small.tflite", "small.onnx")


@pytest.fixture(scope="module")
def server(run: Path, exported: dict[str, Path]) -> Iterator[Server]:
    """The files first, so that what is for the first network is not for a run."""
    with Server(exported["litert"], exported["onnx"], run) as started:
        yield started
        assert "Traceback" not in started.said, started.said


def test_files_are_answered_as_their_run_is_and_explained_by_nobody_else(server: Server, run: Path) -> None:
    models = requests.get(server.url + "models", timeout=60).json()["models"]
    assert {model["name"]: model["explains"] for model in models} == {**dict.fromkeys(FILES, False), "run": True}
    expected = cnn_jax.load(run)(PICTURE)
    # more than one: a batch of 4 and two alone
    files = [("file", PICTURE)] * 6 + [("file", PICTURE[:300])]
    *images, damaged = requests.post(server.url + "predict?top=10", files=files, timeout=60).json()["images"]
    assert set(damaged) == {"name", "error"}
    for result in (result for image in images for result in image["results"]):
        found = {item["class"]: item["probability"] for item in result["classes"]}
        of_classes = [found[name] for name in map(str, range(10))]
        np.testing.assert_allclose(of_classes, expected.probabilities[0], rtol=0, atol=1e-5)
    for name in FILES:
        asked = requests.post(f"{server.url}explain?model={name}", data=PICTURE, timeout=60)
        reason = f"{name} is an exported file: to see where it looks, serve its run"
        assert (asked.status_code, asked.json()) == (400, {"error": reason})


def test_the_page_says_of_files_that_they_show_not_where_they_look(server: Server, chromium: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = open_page(browser, server.url)
        bring(page, {"a.jpg": PICTURE}, "choose")
        (picture,) = settled(page)
        for answer in picture.locator(".answer").all():
            is_file = answer.locator("h3").inner_text() in FILES
            assert answer.locator("li").count() == 5
            assert answer.get_by_role("button").count() == (0 if is_file else 5)
            said = "An exported file: to see where it looks, serve its run."
            expect(answer.get_by_text(said)).to_have_count(1 if is_file else 0)
            expect(answer.get_by_role("img")).to_have_count(0 if is_file else 1)
        page.locator("summary").click()
        assert f"{server.url}explain?model=run" in page.locator("#curl").inner_text()
        assert page.complaints == []  # type: ignore[attr-defined]
        browser.close()
