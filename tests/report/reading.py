"""Reads a page as a browser would, with the standard library's parser alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"img", "meta", "input", "br", "link", "hr", "source"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def below(self) -> Iterator["Element"]:
        """Every element below, in the order of the page."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.below

    def all(self, tag: str, **attributes: str) -> list["Element"]:
        """Every element below with this tag and these attributes; `class_` is one of the classes."""
        return [element for element in self.below if element.fits(tag, attributes)]

    def one(self, tag: str, **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found

    def fits(self, tag: str, wanted: dict[str, str]) -> bool:
        classes = (self.attributes.get("class") or "").split()
        rest = {key: value for key, value in wanted.items() if key != "class_"}
        return (
            self.tag == tag
            and wanted.get("class_", next(iter(classes), "")) in (classes or [""])
            and all(self.attributes.get(key) == value for key, value in rest.items())
        )


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("document", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def read_page(path: Path) -> Element:
    builder = _Builder()
    builder.feed(path.read_text(encoding="utf-8"))
    builder.close()
    return builder.root


def recorded(folder: Path, source: str) -> Any:
    """What the file of a run directory holds at FILE#POINTER."""
    file, _, pointer = source.partition("#")
    text = (folder / file).read_text(encoding="utf-8")
    value = [json.loads(line) for line in text.splitlines()] if file.endswith("l") else json.loads(text)
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def written(text: str) -> tuple[float, float]:
    """The number that a text of the page shows, and half a unit of its last digit."""
    number = text.replace(",", "").removesuffix(" images/s").removesuffix(" s")
    scale = 0.01 if number.endswith(" %") else 1.0
    digits, _, exponent = number.removesuffix(" %").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return float(number.removesuffix(" %")) * scale, scale * unit / 2
