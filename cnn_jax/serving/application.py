"""What is asked and answered."""

import asyncio
import contextlib
import io
import os
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cnn_jax.errors import DataError
from cnn_jax.evaluation.classifier import top
from cnn_jax.serving import openapi, page, uploads
from cnn_jax.serving.batching import Batcher
from cnn_jax.serving.decoding import Decoders
from cnn_jax.serving.limits import Busy, Limits, Room
from cnn_jax.serving.networks import Network
from cnn_jax.serving.replies import busy, json_reply, refused
from cnn_jax.serving.uploads import Upload

TOP = 5
"""Classes of a picture in an answer, unless `top` says how many."""


class Application:
    """Answers with these networks; `starlette` is the ASGI application."""

    def __init__(self, networks: Sequence[Network], limits: Limits) -> None:
        self._networks, self._limits = {network.name: network for network in networks}, limits
        self._recipes = list(dict.fromkeys(network.recipe for network in networks))
        self._decoders = Decoders(self._recipes, limits, os.cpu_count() or 1)
        self._device = ThreadPoolExecutor(1, "device")
        self._batchers = {
            name: Batcher(network.classifier.batch, self._device, lambda: self._decoders.busy > 0)
            for name, network in self._networks.items()
        }
        self._room = Room(limits)
        self.answered = 0
        """Pictures."""
        self.starlette = Starlette(
            routes=[
                Route("/", self._page),
                Route("/healthz", self._health),
                Route("/openapi.json", self._openapi),
                Route("/models", self._models),
                Route("/predict", self._predict, methods=["POST"]),
                Route("/explain", self._explain, methods=["POST"]),
            ],
            lifespan=self._running,
            exception_handlers={HTTPException: refused, Busy: busy},  # type: ignore[dict-item]
        )

    @contextlib.asynccontextmanager
    async def _running(self, _: Starlette) -> AsyncGenerator[None, None]:
        await self._decoders.start()
        workers = [asyncio.create_task(batcher.work()) for batcher in self._batchers.values()]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await self._decoders.stop()
            self._device.shutdown(wait=False, cancel_futures=True)

    async def _page(self, _: Request) -> Response:
        content, policy = page.page()
        return Response(content, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def _health(self, _: Request) -> Response:
        return json_reply({"status": "ok"})

    async def _openapi(self, _: Request) -> Response:
        return json_reply(openapi.description(self._limits))

    async def _models(self, _: Request) -> Response:
        return json_reply({"models": [network.describe() for network in self._networks.values()]})

    async def _predict(self, request: Request) -> Response:
        count = _count(request.query_params.get("top", str(TOP)))
        networks = self._chosen(request.query_params.getlist("model"))
        with self._room.visit() as visit:
            sent = await uploads.read(request, self._limits, visit)
            images = await asyncio.gather(*(self._image(upload, networks, count) for upload in sent))
        self.answered += len(images)
        alone = not uploads.is_form(request)
        return json_reply({"images": images}, 422 if alone and "error" in images[0] else 200)

    async def _image(self, upload: Upload, networks: Sequence[Network], count: int) -> dict[str, Any]:
        """What is said of one picture, or why nothing is."""
        begun = time.perf_counter()
        try:
            prepared = await self._decoders.decode(upload.content)
        except DataError as error:
            return {"name": upload.name, "error": str(error)}
        rows = await asyncio.gather(*(self._probabilities(network, prepared) for network in networks))
        return {
            "name": upload.name,
            "results": [_result(network, row, count) for network, row in zip(networks, rows, strict=True)],
            "milliseconds": round(1000 * (time.perf_counter() - begun), 1),
        }

    async def _explain(self, request: Request) -> Response:
        networks = self._chosen(request.query_params.getlist("model"))
        if len(networks) > 1:
            raise HTTPException(400, f"which model? Say ?model= one of: {', '.join(self._networks)}")
        (network,) = networks
        if not network.explains:
            raise HTTPException(400, f"{network.name} is an exported file: to see where it looks, serve its run")
        wanted = request.query_params.get("class")
        if wanted is not None and wanted not in network.classifier.classes:
            raise HTTPException(400, f"{network.name} knows no class {wanted!r}; /models lists them")
        with self._room.visit() as visit:
            sent = await uploads.read(request, self._limits, visit)
            if len(sent) > 1:
                raise HTTPException(400, "one picture at a time is explained")
            try:
                prepared = await self._decoders.decode(sent[0].content)
            except DataError as error:
                raise HTTPException(422, str(error)) from error
            if wanted is None:
                index = int((await self._probabilities(network, prepared)).argmax())
            else:
                index = network.classifier.classes.index(wanted)
            png = await self._on_device(_overlay, network, self._prepared_for(network, prepared), index)
        self.answered += 1
        return Response(png, media_type="image/png")

    async def _probabilities(
        self, network: Network, prepared: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    ) -> Float32[np.ndarray, " classes"]:
        return await self._batchers[network.name](self._prepared_for(network, prepared))

    def _prepared_for(
        self, network: Network, prepared: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    ) -> UInt8[np.ndarray, "h w 3"]:
        return prepared[self._recipes.index(network.recipe)]

    async def _on_device(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._device, function, *arguments)

    def _chosen(self, names: Sequence[str]) -> list[Network]:
        """The networks of these names, all without any."""
        for name in names:
            if name not in self._networks:
                raise HTTPException(400, f"there is no model {name!r}; there are: {', '.join(self._networks)}")
        return [network for name, network in self._networks.items() if not names or name in names]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) >= 1):
        raise HTTPException(400, f"top={text!r} is not possible: it must be a number from 1 on")
    return int(text)


def _result(network: Network, probabilities: Float32[np.ndarray, " classes"], count: int) -> dict[str, Any]:
    names = network.classifier.classes
    best = [{"class": names[index], "probability": share} for index, share in top(probabilities, count)]
    return {"model": network.name, **best[0], "classes": best}


def _overlay(network: Network, pixels: UInt8[np.ndarray, "h w 3"], index: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(network.overlay(pixels, index)).save(file, "png")
    return file.getvalue()
