"""Files in a form: what two well-known encoders write is read back, and what is no form is refused."""

from email.message import EmailMessage

import numpy as np
import pytest
import requests

from cnn_jax.serving.uploads import MOST_FIELDS, NoForm, Upload, files

BOUNDARY = "multipart/form-data; boundary=x"


def encoded(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """Body and content type of a form with these names, file names and contents, as `requests` sends it."""
    request = requests.Request("POST", "http://x", files=[(name, (file, content)) for name, file, content in parts])
    prepared = request.prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["Content-Type"]


def test_files_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    contents = [b"", b"\r\n", b"\r\n--", b"--\r\n\r\n", rng.bytes(70_000), b"\r" * 1000]
    names = ["a.png", "two words;x=1.png", "котёнок.png", "b.png", "c.png", "d.png"]
    body, kind = encoded(*(("file", name, content) for name, content in zip(names, contents, strict=True)))
    assert list(files(body, kind, 6)) == [Upload(*pair) for pair in zip(names, contents, strict=True)]
    with pytest.raises(NoForm, match="a form may have 5 files"):
        list(files(body, kind, 5))


def test_the_standard_librarys_form_is_read_with_its_fields_left_out() -> None:
    form = EmailMessage()
    form.add_header("Content-Type", "multipart/form-data", boundary="b(o)u'n d")
    for name, file in (("text", None), ("picture", "café.png")):
        part = EmailMessage()
        part.set_content(b"content\n", "image", "png", disposition="form-data", filename=file, cte="binary")
        part.set_param("name", name, header="Content-Disposition")
        form.attach(part)
    head, _, body = form.as_bytes().replace(b"\n", b"\r\n").partition(b"\r\n\r\n")
    kind = " ".join(head.decode().split()).partition("Content-Type: ")[2].partition(" MIME")[0]
    assert list(files(body, kind, 1)) == [Upload("café.png", b"content\r\n")]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "multipart/form-data", "has no boundary"),
        (b"", 'multipart/form-data; boundary=""', "has no boundary"),
        (b"--x--", f"multipart/form-data; boundary={'x' * 71}", "has no boundary"),
        (b"", BOUNDARY, "cut short"),
        (b"anything", BOUNDARY, "cut short"),
        (b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\ncontent", BOUNDARY, "cut short"),
        (b"--x\r\nnothing", BOUNDARY, "has no head"),
        (b"--x\r\n" + b"a" * 5000 + b"\r\n\r\n\r\n--x--", BOUNDARY, "has no head, or one too long"),
        (b"--x\r\n\r\n\r\n" * (MOST_FIELDS + 9) + b"--x--", BOUNDARY, "cut short, or has more than 4 files"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, kind: str, message: str) -> None:
    with pytest.raises(NoForm, match=message):
        list(files(body, kind, 4))


def test_noise_is_refused_or_read_and_nothing_else() -> None:
    body, kind = encoded(("file", "a.png", b"abc"), ("file", "b.png", b"def"))
    rng = np.random.default_rng(1)
    for _ in range(300):
        changed = bytearray(body)
        for _ in range(rng.integers(1, 9)):
            changed[rng.integers(len(changed))] = rng.integers(256)
        try:
            assert len(list(files(bytes(changed[: rng.integers(len(changed) + 1)]), kind, 4))) <= 2
        except NoForm:
            continue
