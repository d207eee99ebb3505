"""The forms of an answer."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cnn_jax.serving.limits import Busy

COME_AGAIN_SECONDS = 1


def json_reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON in ASCII, so that names of any characters can stand in it."""
    return Response(json.dumps(content), status, headers, media_type="application/json")


async def refused(_: Request, error: HTTPException) -> Response:
    """What is not possible, and why."""
    return json_reply({"error": error.detail}, error.status_code, dict(error.headers or {}))


async def busy(_: Request, __: Busy) -> Response:
    """Not now."""
    said = {"error": "the server has as much to do as it may: ask again in a second"}
    return json_reply(said, 503, {"Retry-After": str(COME_AGAIN_SECONDS)})
