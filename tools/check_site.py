"""Every link inside of a site leads to a page and a heading of it, and nothing is loaded from the network.

`python tools/check_site.py site/html` prints what is wrong, and ends with code 1 where something is.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements whose target a browser loads by itself; those of `<a>` are followed by readers."""
NOT_LOADED = {"canonical", "alternate", "next", "prev", "index", "search", "author", "license"}


class Page(HTMLParser):
    """The ids, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and not set(given.get("rel", "").split()) & NOT_LOADED:
            self.loaded.append(given[LOADED[tag]])


def problems(site: Path) -> list[str]:
    """A line for each link that leads nowhere, and each file that would come from the network."""
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html") if "_static" not in path.parts}
    found = [] if pages else [f"{site} has no page"]
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in [*page.links, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loaded and parts.scheme != "data":
                    found.append(f"{name} loads {target}")
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if not there.exists():
                found.append(f"{name} links to {target}, which is not there")
            elif parts.fragment and there.suffix == ".html" and there != (site / "search.html").resolve():
                known = pages[site / there.relative_to(site.resolve())].ids
                if unquote(parts.fragment) not in known:
                    found.append(f"{name} links to {target}, which has no such heading")
    for path in site.rglob("*.css"):
        for target in re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", path.read_text()):
            found.append(f"{path.relative_to(site)} loads {target}")
    return found


def main() -> None:
    """Print what is wrong; exit code 1 where something is."""
    site = Path(sys.argv[1])
    found = problems(site)
    print("\n".join(found) or f"{len(list(site.rglob('*.html')))} pages, no broken link, nothing from the network")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
