"""The pictures of a request, kept in memory alone: the body itself is one, or a form has several."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from cnn_jax.serving.limits import MEGABYTE, NAME_LENGTH, Limits, Visit

FORM = "multipart/form-data"
MOST_FIELDS = 8
"""Of a form, beside its files. There is no use for any."""
MOST_HEAD_BYTES = 4096
"""Of the head of a part."""
LONGEST_BOUNDARY = 70
"""RFC 2046, 5.1.1."""


@dataclass(frozen=True)
class Upload:
    """A picture as it was sent."""

    name: str
    """What its sender calls it; empty where nothing was said."""
    content: bytes


class NoForm(ValueError):  # noqa: N818  (named for what it says)
    """A body that is no form, though its request says so; the message says why."""


def is_form(request: Request) -> bool:
    """Whether the body says that it is a form; any other is a picture, whatever it says."""
    return request.headers.get("content-type", "").lower().startswith(FORM)


async def read(request: Request, limits: Limits, visit: Visit) -> list[Upload]:
    """Read the body of a request.

    Raises:
        HTTPException: it is too long (413), took too long (408), is no form though it says so, or has no picture (400).
        Busy: it, or its pictures, are too many for the server at this moment.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limits.request_bytes:
        raise _too_long(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = b"".join([chunk async for chunk in _bounded(request, limits, visit)])
    except TimeoutError as error:
        raise HTTPException(408, f"the request took more than {limits.body_seconds:g} s to come") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the request ended before its body did") from error
    try:
        kind = request.headers.get("content-type", "")
        uploads = list(files(body, kind, limits.pictures)) if is_form(request) else [Upload("", body)]
    except NoForm as error:
        raise HTTPException(400, str(error)) from error
    if not body or not uploads:
        raise HTTPException(400, "there is no picture in it: send one as the body, or several as files of a form")
    visit.add_pictures(len(uploads))
    return uploads


async def _bounded(request: Request, limits: Limits, visit: Visit) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        visit.add_bytes(len(chunk))
        if visit.bytes > limits.request_bytes:
            raise _too_long(limits)
        yield chunk


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(413, f"a request may have {limits.request_bytes / MEGABYTE:g} MB")


def files(body: bytes, content_type: str, most: int) -> Iterator[Upload]:
    """The files of a form (RFC 7578), found by searching for its boundary alone.

    Raises:
        NoForm: it has none, is cut short, or has more files than `most`.
    """
    boundary = _parameter(content_type, "boundary")
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise NoForm("the form has no boundary that its parts could lie between")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, *parts = (b"\r\n" + body).split(delimiter, most + MOST_FIELDS + 1)
    count = 0
    for part in parts:
        if part.startswith(b"--"):
            return
        head, blank, content = part.partition(b"\r\n\r\n")
        if not blank or len(head) > MOST_HEAD_BYTES:
            raise NoForm("a part of the form has no head, or one too long")
        name = _file_name(head)
        if name is None:
            continue
        count += 1
        if count > most:
            raise NoForm(f"a form may have {most} files")
        yield Upload(name[:NAME_LENGTH], content)
    raise NoForm(f"the form is cut short, or has more than {most} files and {MOST_FIELDS} fields")


def _file_name(head: bytes) -> str | None:
    """What the head of a part calls its file; None where the part is no file."""
    for line in head.split(b"\r\n"):
        field, _, value = line.decode("utf-8", "replace").partition(":")
        if field.strip().lower() == "content-disposition" and "filename" in value.lower():
            return _parameter(value, "filename")
    return None


def _parameter(header: str, name: str) -> str:
    """A parameter of a header's value, empty without."""
    message = Message()
    message["content-type"] = " ".join(header.split())
    return collapse_rfc2231_value(message.get_param(name, ""))
