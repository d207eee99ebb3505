"""What can be asked, as an OpenAPI description."""

from importlib import metadata
from typing import Any

from cnn_jax.serving.limits import MEGABYTE, Limits

PICTURE = {"type": "string", "format": "binary"}
ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
ERRORS = {
    "400": "what was asked is not possible; the message says what is",
    "401": "the token is missing, or another",
    "403": "a page of another site asks, or the server is asked by another name than its own",
    "408": "the picture took too long to come",
    "413": "the request is too long",
    "500": "the server failed on it",
    "503": "the server has as much to do as it may; Retry-After says when to ask again",
    "504": "the answer took too long",
}


def description(limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cnn_jax",
            "version": metadata.version("cnn_jax"),
            "description": f"Names what is on pictures. A request may have {limits.request_bytes / MEGABYTE:g} MB and "
            f"{limits.pictures} pictures, a picture {limits.pixels / 1e6:g} million pixels. Nothing is kept.",
        },
        "security": [{}, {"token": []}],
        "paths": {
            "/": {"get": _get("The page", {"text/html": {"schema": {"type": "string"}}})},
            "/healthz": {"get": _get("Whether the server answers", _json({"status": {"const": "ok"}}))},
            "/openapi.json": {"get": _get("This description", {"application/json": {"schema": {"type": "object"}}})},
            "/models": {"get": _get("The networks and their classes", _json({"models": _array(_MODEL)}))},
            "/predict": {"post": _predict()},
            "/explain": {"post": _explain()},
        },
        "components": {
            "schemas": {"Error": _object({"error": {"type": "string"}})},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _predict() -> dict[str, Any]:
    images = _json({"images": _array({"anyOf": [_ANSWER, _FAILURE]})})
    return {
        "summary": "What is on one picture, or on several",
        "description": "A picture that cannot be read has an error in the place of results, and the others are "
        "answered all the same.",
        "parameters": [
            _query("top", "Classes for each picture, the most probable first", {"type": "integer", "default": 5}),
            _query("model", "A network; can be said again. Without, all", _array({"type": "string"})),
        ],
        "requestBody": _body({"type": "object", "properties": {"file": _array(PICTURE)}}),
        "responses": {
            "200": {"description": "In the order of the pictures", "content": images},
            "422": {"description": "The picture that the body is cannot be read", "content": images},
            **_errors(),
        },
    }


def _explain() -> dict[str, Any]:
    return {
        "summary": "Where on a picture a network sees a class: Grad-CAM over the picture, as a PNG file",
        "parameters": [
            _query("model", "The network; needed where there are several", {"type": "string"}),
            _query("class", "The class. Without, the most probable one", {"type": "string"}),
        ],
        "requestBody": _body({"type": "object", "properties": {"file": PICTURE}}),
        "responses": {
            "200": {"description": "Bright places speak for the class", "content": {"image/png": {"schema": PICTURE}}},
            "422": {"description": "The picture cannot be read", "content": ERROR},
            **_errors(),
        },
    }


def _errors() -> dict[str, Any]:
    return {status: {"description": text, "content": ERROR} for status, text in ERRORS.items()}


def _get(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    refused = {status: {"description": ERRORS[status], "content": ERROR} for status in ("401", "403")}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}, **refused}}


def _query(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _body(form: dict[str, Any]) -> dict[str, Any]:
    """A picture as it is, whatever it says it is, or a form."""
    return {"required": True, "content": {"*/*": {"schema": PICTURE}, "multipart/form-data": {"schema": form}}}


def _json(properties: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": _object(properties)}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _SHARE = {"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}
_SIZE = {"oneOf": [{"type": "integer"}, _array({"type": "integer"})], "description": "Of a square, or rows and columns"}
_MODEL = _object({"name": _TEXT, "classes": _array(_TEXT), "image_size": _SIZE, "explains": {"type": "boolean"}})
_CLASS = {"class": _TEXT, "probability": _SHARE}
_RESULT = _object({"model": _TEXT, **_CLASS, "classes": _array(_object(_CLASS))})
_ANSWER = _object({"name": _TEXT, "results": _array(_RESULT), "milliseconds": {"type": "number"}})
_FAILURE = _object({"name": _TEXT, "error": _TEXT})
