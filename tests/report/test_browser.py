"""The report in a real browser: Debian's Chromium, driven by Playwright, without a network."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.long

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        expect.set_options(timeout=120_000)
        yield launched
        launched.close()


@pytest.fixture(params=["digits_run", "hostile_run"])
def report(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param) / "report.html"


def _open(browser: Browser, report: Path, viewport: dict[str, int], **options: str) -> tuple[Page, list[str]]:
    """The page, and a list that every complaint of the browser is added to."""
    context = browser.new_context(viewport=viewport, offline=True, **options)
    page, complaints = context.new_page(), []
    page.set_default_timeout(120_000)
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: complaints.append(f"alert: {dialog.message}"))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url))
    page.goto(report.as_uri())
    return page, complaints


@pytest.fixture
def desktop(browser: Browser, report: Path) -> Iterator[Page]:
    """The report on a wide screen; at the end, the browser must not have complained."""
    page, complaints = _open(browser, report, DESKTOP)
    yield page
    page.context.close()
    assert complaints == []


def test_it_opens_and_says_the_accuracy(desktop: Page) -> None:
    assert desktop.locator(".big").inner_text().endswith(" %")
    broken = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert desktop.evaluate(broken) == 0


def test_a_cell_opens_its_photographs_by_click_and_escape_closes_them(desktop: Page) -> None:
    for button in desktop.locator("[data-opens]").all()[:3]:
        dialog = desktop.locator(f"[id='{button.get_attribute('data-opens')}']")
        assert not dialog.is_visible()
        button.click()
        expect(dialog).to_be_visible()
        expect(dialog.locator("img").first).to_be_visible()
        desktop.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


def test_a_cell_opens_by_keyboard_and_gives_the_focus_back(desktop: Page) -> None:
    matrix = desktop.get_by_role("region", name="Confusion matrix as a table")
    matrix.focus()
    desktop.keyboard.press("Tab")
    button = matrix.get_by_role("button").first
    assert button.evaluate("(element) => element === document.activeElement")
    desktop.keyboard.press("Enter")
    dialog = desktop.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").focus()
    desktop.keyboard.press("Space")
    expect(dialog).to_have_count(0)
    assert button.evaluate("(element) => element === document.activeElement")


def test_a_click_beside_the_photographs_closes_them(desktop: Page) -> None:
    desktop.locator("[data-opens]").first.click()
    expect(desktop.get_by_role("dialog")).to_be_visible()
    desktop.mouse.click(4, 4)
    expect(desktop.get_by_role("dialog")).to_have_count(0)


def test_the_values_of_an_epoch_are_told_by_keyboard_and_under_the_pointer(desktop: Page) -> None:
    rows = desktop.locator("#epochs tbody tr")
    told = desktop.locator("#values")
    last = rows.count() - 1

    def row(index: int) -> list[str]:
        return [text for text in rows.nth(index).locator("td").all_text_contents() if "e" not in text or "-" in text]

    desktop.get_by_label("Epoch", exact=True).focus()
    assert all(text in told.inner_text() for text in row(last))
    desktop.keyboard.press("ArrowLeft")
    assert all(text in told.inner_text() for text in row(last - 1))
    assert f"Epoch {last}" in told.inner_text()
    chart = desktop.locator("svg[data-start]").first
    box = chart.bounding_box()
    assert box is not None
    for share, index in ((0.95, last), (0.15, 0)):
        desktop.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert f"Epoch {index + 1}" in told.inner_text()
        marks = chart.locator(".cursor").get_attribute("x1"), chart.locator("circle").nth(index).get_attribute("cx")
        assert float(marks[0] or "nan") == float(marks[1] or "nan")


def test_everything_has_a_name_and_a_text(desktop: Page) -> None:
    unnamed = """() => {
      const text = (element) => (element.getAttribute("aria-label") || element.textContent).trim();
      const by = (element, attribute) => (element.getAttribute(attribute) || "").split(" ").filter(Boolean);
      const refers = (element) => ["aria-labelledby", "aria-describedby"].flatMap((name) => by(element, name));
      const named = (element) => element.getAttribute("aria-label") ||
        by(element, "aria-labelledby").some((id) => document.getElementById(id)?.textContent.trim());
      return [
        ...[...document.images].filter((image) => !image.alt),
        ...[...document.querySelectorAll("button, a, summary")].filter((element) => !text(element)),
        ...[...document.querySelectorAll("input")].filter((input) => !input.labels.length),
        ...[...document.querySelectorAll("[role], section, dialog")].filter((element) => !named(element)),
        ...[...document.querySelectorAll("table")].filter((table) => !table.querySelector("th[scope]")),
        ...[...document.querySelectorAll("*")].filter((e) => refers(e).some((id) => !document.getElementById(id))),
      ].map((element) => element.outerHTML.slice(0, 200));
    }"""
    assert desktop.evaluate(unnamed) == []
    ids = desktop.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(set(ids)) == len(ids)
    levels = desktop.evaluate("[...document.querySelectorAll('h1, h2, main h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_it_fits_a_phone_and_so_do_its_galleries(browser: Browser, report: Path) -> None:
    page, complaints = _open(browser, report, PHONE)
    for details in page.locator("details").all():
        details.evaluate("(element) => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("[data-opens]").first.click()
    box = page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_in_light_and_dark(browser: Browser, digits_run: Path, scheme: str) -> None:
    page, _ = _open(browser, digits_run / "report.html", DESKTOP, color_scheme=scheme)
    contrast = """(selector) => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const [a, b] = [getComputedStyle(document.querySelector(selector)).color,
                      getComputedStyle(document.body).backgroundColor].map(light);
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }"""
    for selector in ("body", ".soft", "nav a"):  # 4.5 is what WCAG 2 asks of text
        assert page.evaluate(contrast, selector) >= 4.5, selector
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    page.context.close()


def test_it_prints_with_its_tables_and_without_what_cannot_be_used_on_paper(desktop: Page) -> None:
    assert desktop.pdf(format="A4").startswith(b"%PDF")
    desktop.emulate_media(media="print")
    assert desktop.locator(".layers").is_visible()
    assert desktop.locator("#epochs").is_visible()
    assert not desktop.locator("nav").is_visible()
    assert not desktop.get_by_label("Epoch", exact=True).is_visible()
