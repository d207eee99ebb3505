"""How Sphinx makes the site of README.md and docs/: `make docs`, then open site/html/index.html.

Sphinx with MyST and the theme of the documentation of JAX and Flax, whose readers come here. Its source folder is the
repository, so that a link between two Markdown files means the same here and on a forge. The order of the pages is that
of the lists in the section "Documentation" of the README.
"""

import re
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

project = "cnn_jax"
author = "the contributors of cnn_jax"
version = release = metadata.version("cnn_jax")
copyright = author

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/*.ipynb", "launch/*.md", "examples/**/*.md", "tests/*.md"]
exclude_patterns = [".github"]

myst_heading_anchors = 4
nb_execution_mode = "off"  # tests/test_notebook.py runs the notebook
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"

html_theme = "sphinx_book_theme"
html_title = "cnn_jax"
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False}
html_copy_source = False
html_show_copyright = False

LIST = re.compile(r"^### (.*)\n((?:\n|- .*\n|  .*\n)*)", re.MULTILINE)
PAGE = re.compile(r"^- \[[^]]*\]\(([^)#:]+)\.(?:md|ipynb)\)", re.MULTILINE)


def order_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the contents of the site of the README's lists of pages."""
    if docname != root_doc:
        return
    documentation = source[0].partition("\n## Documentation\n")[2]
    for caption, items in LIST.findall(documentation):
        pages = "\n".join(PAGE.findall(items))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def google_to_rst(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings have Google's sections, and Markdown's blocks of code; autodoc reads reStructuredText."""
    for number in reversed(range(1, len(lines))):
        line, before = lines[number], lines[number - 1]
        indented = line.startswith("    ") and not before.strip()
        above = next((text for text in reversed(lines[:number]) if text.strip()), "")
        if indented and above and not above.startswith((" ", "-")) and not above.endswith("::"):
            lines[number:number] = ["::", ""]
    if what not in ("attribute", "property"):  # of which it would take what stands before a colon for a type
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, thing, options).lines()


def write_start(app: Sphinx, error: Exception | None) -> None:
    """index.html, which a browser and a web server ask for, leads to the README."""
    if error is None and app.builder.name == "html":
        refresh = '<!doctype html><meta charset="utf-8"><title>cnn_jax</title>'
        Path(app.outdir, "index.html").write_text(
            f'{refresh}<meta http-equiv="refresh" content="0; url=README.html">\n'
        )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", order_pages)
    app.connect("autodoc-process-docstring", google_to_rst)
    app.connect("build-finished", write_start)
