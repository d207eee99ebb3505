"""Pictures of several requests in one run of a network."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from jaxtyping import Float32, UInt8

SIZES = (1, 4, 16)
"""Pictures in a run. Each size is a program, which takes seconds to compile before the server is ready."""
WAIT_SECONDS = 0.005
"""That a picture waits for others which are being decoded."""


class Batcher:
    """Runs a network over whatever waits, the oldest first, one batch at a time."""

    def __init__(
        self,
        run: Callable[[UInt8[np.ndarray, "b h w 3"]], Float32[np.ndarray, "b classes"]],
        device: Executor,
        coming: Callable[[], bool],
        sizes: Sequence[int] = SIZES,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Nothing runs before `work`.

        Args:
            run: images to probabilities, for each b of `sizes`.
            device: where `run` is called; networks that share one run in turn.
            coming: whether more pictures are on their way, so that it pays to wait.
        """
        self._run, self._device, self._coming = run, device, coming
        self._sizes, self._wait_seconds = sorted(sizes), wait_seconds
        self._waiting: list[tuple[UInt8[np.ndarray, "h w 3"], asyncio.Future[Float32[np.ndarray, " classes"]]]] = []
        self._arrived = asyncio.Event()

    async def __call__(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " classes"]:
        """Its probabilities."""
        future: asyncio.Future[Float32[np.ndarray, " classes"]] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, future))
        self._arrived.set()
        return await future

    async def work(self) -> None:
        """Run batches until it is cancelled."""
        while True:
            await self._arrived.wait()
            await self._gather()
            await self._run_batch()

    async def _gather(self) -> None:
        """Wait for more pictures, as long as that may fill a batch."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_seconds
        while len(self._waiting) < self._sizes[-1] and self._coming() and (left := until - loop.time()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                break
        self._arrived.set()

    async def _run_batch(self) -> None:
        """The largest batch that is full: no place of it is left empty."""
        size = max(size for size in self._sizes if size <= len(self._waiting))
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        if not self._waiting:
            self._arrived.clear()
        images = np.stack([pixels for pixels, _ in batch])
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._device, self._run, images)
        except Exception as error:  # of the device: these requests fail, and the next batch is tried
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), row in zip(batch, rows, strict=True):
            if not future.done():
                future.set_result(row)
