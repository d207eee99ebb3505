"""The page: the same for everyone; what it shows of the networks, it asks for."""

import functools

from cnn_jax import html
from cnn_jax.serving.guard import POLICY

NAME = "serve"


@functools.cache
def page() -> tuple[str, str]:
    """The page as HTML, and its Content-Security-Policy."""
    script = html.script(f"{NAME}.js")
    policy = f"{POLICY}; img-src data:; style-src 'unsafe-inline'; script-src {script.policy}; connect-src 'self'"
    return html.render(f"{NAME}.html", title="What is on the picture?", script=script), policy
