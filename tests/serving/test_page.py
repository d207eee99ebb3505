"""The page in a real browser: Debian's Chromium, driven by Playwright; it asks nobody but the server."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from cnn_jax.evaluation.classifier import Classifier
from tests.data.pictures import encode, photograph
from tests.serving.conftest import RUNS, Server

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PICTURES = {
    "<img src=x onerror=alert(1)>.png": encode(photograph(), "PNG"),
    "b.jpg": encode(photograph(80, 20), "JPEG"),
}
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
BRING = """([names, contents, kind]) => {
  const carried = new DataTransfer();
  contents.forEach((content, i) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], names[i], { type: "image/png" }));
  });
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true })
      : new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true })
  );
}"""


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *CAMERA])
        expect.set_options(timeout=120_000)
        yield launched
        launched.close()


def open_page(browser: Browser, address: str, viewport: dict[str, int] = DESKTOP, **options: object) -> Page:
    """The page; whatever the browser complains of is in `complaints` of it."""
    page = browser.new_context(viewport=viewport, **options).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(120_000)
    page.complaints = complaints = []  # type: ignore[attr-defined]
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: complaints.append(f"alert: {dialog.message}"))
    start = address.partition("#")[0]
    page.on("request", lambda asked: None if asked.url.startswith(start) else complaints.append(asked.url))
    page.goto(address)
    return page


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """On a wide screen; at the end, the browser must not have complained."""
    opened = open_page(browser, server.url)
    yield opened
    opened.context.close()
    assert opened.complaints == []  # type: ignore[attr-defined]


def bring(page: Page, files: dict[str, bytes], kind: str) -> None:
    if kind == "choose":
        sent = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files.items()]
        page.set_input_files("#files", sent)  # type: ignore[arg-type]
        return
    contents = [base64.b64encode(content).decode() for content in files.values()]
    page.evaluate(BRING, [list(files), contents, kind])


def settled(page: Page) -> list[Locator]:
    """The pictures on the page, the newest first, once nothing is being asked any more."""
    expect(page.locator(".picture").first).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("")
    return page.locator(".picture").all()


@pytest.mark.parametrize("kind", ["choose", "drop", "paste"])
def test_pictures_are_named_side_by_side_with_where_the_networks_looked(
    page: Page, classifier: Classifier, kind: str
) -> None:
    bring(page, {**PICTURES, "damaged.png": b"no picture"}, kind)
    shown = {picture.get_attribute("aria-label"): picture for picture in settled(page)}
    assert set(shown) == {*PICTURES, "damaged.png"}
    for name, content in PICTURES.items():
        expected = classifier(content)
        for model, answer in zip(RUNS, shown[name].locator(".answer").all(), strict=True):
            assert answer.locator("h3").inner_text() == model
            share = f"{100 * expected.probabilities.max():.1f} %"
            assert answer.locator(".says").inner_text() == f"{expected.classes[0]} {share}"
            assert answer.locator("li").count() == 5
            looked = answer.get_by_role("img", name=f"Where {model} sees {expected.classes[0]}")
            assert looked.evaluate("(canvas) => canvas.width") == 176
        assert "ms in the server" in shown[name].locator("figcaption").first.inner_text()
    assert "its content is none of JPEG" in shown["damaged.png"].inner_text()
    assert shown["damaged.png"].locator(".answer").count() == 0
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".picture").count() == 0


def test_the_keyboard_does_all_of_it(page: Page) -> None:
    page.get_by_role("button", name="Photograph").focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        page.evaluate("0")  # by its answer the browser knows that the choice is waited for
        page.keyboard.press("Enter")
    chooser.value.set_files([{"name": "a.png", "mimeType": "image/png", "buffer": PICTURES["b.jpg"]}])
    (picture,) = settled(page)
    bars = picture.locator(".answer").first.get_by_role("button")
    bars.nth(0).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(bars.nth(1)).to_have_attribute("aria-pressed", "true")
    name = bars.nth(1).locator("span").first.inner_text()
    expect(picture.get_by_role("img", name=f"Where first sees {name}")).to_be_visible()


def test_it_fits_a_phone_in_the_dark_and_says_how_programs_ask(browser: Browser, server: Server) -> None:
    page = open_page(browser, server.url, PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    with page.expect_file_chooser() as chooser:  # the phone's own camera
        page.get_by_role("button", name="Photograph").click()
    chooser.value.set_files([{"name": "a.png", "mimeType": "image/png", "buffer": PICTURES["b.jpg"]}])
    assert len(settled(page)) == 1
    page.locator("summary").click()
    assert f"curl --data-binary @photo.jpg {server.url}predict" in page.locator("#curl").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    page.context.close()
    assert page.complaints == []  # type: ignore[attr-defined]


def test_a_camera_takes_a_picture_and_is_let_go(page: Page) -> None:
    page.get_by_role("button", name="Photograph").click()
    expect(page.get_by_role("dialog", name="Camera")).to_be_visible()
    # A picture has come. `wait_for_function` would evaluate a text in the page, which its policy forbids.
    expect(page.locator("#video")).not_to_have_js_property("videoWidth", 0)
    page.get_by_role("button", name="Take it").click()
    (picture,) = settled(page)
    assert picture.get_attribute("aria-label") == "photograph.png"
    assert picture.locator(".answer").count() == 2
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_server_with_a_token_asks_for_it_and_takes_it_from_the_address(
    browser: Browser, served_runs: list[Path]
) -> None:
    with Server(served_runs[0], "--host=0.0.0.0") as server:
        address = server.address.replace(server.address.partition("//")[2].partition(":")[0], "127.0.0.1")
        page = open_page(browser, address)
        bring(page, PICTURES, "choose")
        assert len(settled(page)) == 2
        assert "#" not in page.url
        assert page.complaints == []  # type: ignore[attr-defined]
        other = open_page(browser, address.partition("#")[0])
        other.get_by_label("This server asks for its token").fill(address.partition("token=")[2])
        other.get_by_role("button", name="Use it").click()
        expect(other.locator("#networks")).to_contain_text("first")
        for opened in (page, other):
            opened.context.close()
