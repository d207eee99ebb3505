"""What the server answers, held against the classifier that `cnn_jax.load` gives."""

import io
import json

import numpy as np
import pytest
import requests
from PIL import Image

from cnn_jax.evaluation.classifier import Classifier
from cnn_jax.explaining import saliency
from cnn_jax.serving import openapi
from cnn_jax.serving.limits import Limits
from tests.data.pictures import encode, oriented, photograph, see_through
from tests.serving.conftest import RUNS, Server

JPEG = encode(photograph(), "JPEG", exif=oriented(6))
PICTURES = {"a.jpg": JPEG, "b.png": encode(see_through(), "PNG"), "c.gif": encode(photograph(), "GIF")}


def test_several_pictures_are_answered_as_the_classifier_answers_them_and_a_damaged_one_fails_alone(
    server: Server, classifier: Classifier
) -> None:
    files = [*PICTURES.items(), ("no <b>.png", b"no picture")]
    asked = requests.post(server.url + "predict?top=10", files=[("file", file) for file in files], timeout=300)
    assert asked.status_code == 200
    *images, damaged = asked.json()["images"]
    assert [image["name"] for image in images] == list(PICTURES)
    for image, content in zip(images, PICTURES.values(), strict=True):
        expected = classifier(content).probabilities[0]
        assert [result["model"] for result in image["results"]] == list(RUNS)
        for result in image["results"]:
            found = {item["class"]: item["probability"] for item in result["classes"]}
            np.testing.assert_allclose([found[name] for name in classifier.classes], expected, rtol=1e-5, atol=1e-7)
            assert list(found.values()) == sorted(found.values(), reverse=True)
            assert (result["class"], result["probability"]) == next(iter(found.items()))
    assert damaged == {"name": "no <b>.png", "error": damaged["error"]}
    assert "its content is none of JPEG" in damaged["error"]


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "image/png"])
def test_the_body_is_a_picture_whatever_it_says_it_is(server: Server, classifier: Classifier, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    asked = requests.post(f"{server.url}predict?model=second&top=1", data=JPEG, headers=headers, timeout=300)
    (image,) = asked.json()["images"]
    (result,) = image["results"]
    found = classifier(JPEG)
    assert (result["model"], result["class"], len(result["classes"])) == ("second", found.classes[0], 1)
    assert result["probability"] == pytest.approx(float(found.probabilities.max()), rel=1e-5)


@pytest.mark.parametrize("name", [None, "3"])
def test_grad_cam_is_a_picture_of_the_class(server: Server, classifier: Classifier, name: str | None) -> None:
    query = {"model": "first", **({} if name is None else {"class": name})}
    asked = requests.post(server.url + "explain", params=query, data=JPEG, timeout=300)
    assert (asked.status_code, asked.headers["Content-Type"]) == (200, "image/png")
    pixels = classifier.resize.array(np.asarray(Image.open(io.BytesIO(JPEG)).convert("RGB").rotate(-90, expand=True)))
    index = classifier.classes.index(name or classifier(JPEG).classes[0])
    (found,) = saliency.grad_cam(classifier.model, classifier.variables, pixels[None], np.asarray([index]))
    shown = Image.fromarray(pixels).resize((176, 176), Image.Resampling.NEAREST)
    expected = saliency.overlay(np.asarray(shown), found)
    with Image.open(io.BytesIO(asked.content)) as picture:
        assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("path", "options", "status", "message"),
    [
        ("predict", {"data": b""}, 400, "there is no picture in it"),
        ("predict", {"files": [("a", "text")], "data": {"b": "c"}}, 200, ""),
        ("predict", {"data": b"x"}, 422, ""),
        ("predict?top=0", {"data": JPEG}, 400, "top='0' is not possible"),
        ("predict?top=²", {"data": JPEG}, 400, "is not possible"),
        ("predict?model=third", {"data": JPEG}, 400, "there is no model 'third'; there are: first, second"),
        ("predict", {"data": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "has no boundary"),
        ("predict", {"data": bytes(33_000_000)}, 413, "a request may have 32 MB"),
        ("predict", {"files": [("file", JPEG)] * 33}, 400, "a form may have 32 files"),
        ("explain", {"data": JPEG}, 400, "which model?"),
        ("explain?model=first&class=dog", {"data": JPEG}, 400, "first knows no class 'dog'"),
        ("explain?model=first", {"files": [("file", JPEG)] * 2}, 400, "one picture at a time"),
        ("explain?model=first", {"data": JPEG[:300]}, 422, ""),
        ("nothing", {"data": JPEG}, 404, "Not Found"),
    ],
)
def test_what_is_not_possible_is_answered_with_what_is(
    server: Server, path: str, options: dict, status: int, message: str
) -> None:
    asked = requests.post(server.url + path, timeout=300, **options)
    assert asked.status_code == status, asked.text
    assert message in asked.text
    assert ("error" in asked.json()) == bool(message) or status in (200, 422)


def test_the_description_has_every_route_and_answer(server: Server) -> None:
    told = requests.get(server.url + "openapi.json", timeout=300).json()
    assert told == json.loads(json.dumps(openapi.description(Limits())))
    assert set(told["paths"]) == {"/", "/healthz", "/openapi.json", "/models", "/predict", "/explain"}
    for path, methods in told["paths"].items():
        for method in methods:
            found = requests.request(method, server.url + path[1:], params={"model": "first"}, data=JPEG, timeout=300)
            assert found.status_code == 200
            described = methods[method]["responses"]["200"]["content"]
            assert found.headers["Content-Type"].partition(";")[0] in described
    assert requests.get(server.url + "healthz", timeout=300).json() == {"status": "ok"}
    models = requests.get(server.url + "models", timeout=300).json()["models"]
    assert [(model["name"], model["image_size"], len(model["classes"])) for model in models] == [
        (name, 8, 10) for name in RUNS
    ]


def test_every_answer_keeps_other_pages_out(server: Server) -> None:
    for path, method in (("", "GET"), ("models", "GET"), ("predict", "POST"), ("nothing", "GET")):
        headers = requests.request(method, server.url + path, data=b"x", timeout=300).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; frame-ancestors 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert not [name for name in headers if name.lower().startswith("access-control")]
    for headers in ({"Host": "evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        assert requests.post(server.url + "predict", data=JPEG, headers=headers, timeout=300).status_code == 403
