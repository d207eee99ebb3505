"""The processes that decode pictures (`decoder.py`), as the server sees them."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cnn_jax.errors import DataError
from cnn_jax.serving.decoder import ERROR, HEAD, PICTURE, READY, Recipe, settings
from cnn_jax.serving.limits import Limits

SECONDS_TO_START = 60.0
SECONDS_BETWEEN_STARTS = 1.0
"""After a start that failed."""


class Decoders:
    """So many processes, each with one picture at a time; one that a picture ends is replaced."""

    def __init__(self, recipes: Sequence[Recipe], limits: Limits, count: int) -> None:
        self._recipes, self._limits, self._count = recipes, limits, count
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        self._all: set[_Process] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self.busy = 0
        """Pictures that wait for a process or are in one."""

    async def start(self) -> None:
        """Start them all, and wait until they are ready.

        Raises:
            OSError: a process does not start.
        """
        await asyncio.gather(*(self._add() for _ in range(self._count)))

    async def stop(self) -> None:
        """End them all."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*(process.end() for process in self._all))

    async def decode(self, encoded: bytes) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """A picture as each recipe has it.

        Raises:
            DataError: why it cannot be read.
        """
        self.busy += 1
        try:
            process = await self._idle.get()
            content = await self._ask(process, encoded)
        finally:
            self.busy -= 1
        found, start = [], 0
        for recipe in self._recipes:
            count = recipe.shape[0] * recipe.shape[1] * recipe.shape[2]
            found.append(np.frombuffer(content, np.uint8, count, start).reshape(recipe.shape))
            start += count
        return found

    async def _ask(self, process: "_Process", encoded: bytes) -> bytes:
        answered = False
        try:
            async with asyncio.timeout(self._limits.decode_seconds):
                kind, content = await process.ask(encoded)
            answered = True
        except TimeoutError as error:
            raise DataError(
                f"it took more than {self._limits.decode_seconds:g} s to decode: make it smaller"
            ) from error
        except (OSError, EOFError) as error:
            raise DataError("its decoder failed on it: the file is damaged, or made to do harm") from error
        finally:
            if answered:
                self._idle.put_nowait(process)
            else:
                self._replace(process)
        if kind == ERROR:
            raise DataError(content.decode())
        return content

    def _replace(self, process: "_Process") -> None:
        async def replace() -> None:
            self._all.discard(process)
            await process.end()
            while True:
                try:
                    return await self._add()
                except (OSError, EOFError, TimeoutError):  # no memory for it just now
                    await asyncio.sleep(SECONDS_BETWEEN_STARTS)

        task = asyncio.create_task(replace())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _add(self) -> None:
        process = _Process(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cnn_jax.serving.decoder", settings(self._recipes, self._limits.pixels)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the server, which answers what it has first
            )
        )
        self._all.add(process)
        try:
            async with asyncio.timeout(SECONDS_TO_START):
                kind, _ = await process.answer()
            if kind != READY:
                raise EOFError
        except BaseException:
            self._all.discard(process)
            await process.end()
            raise
        self._idle.put_nowait(process)


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout

    async def ask(self, encoded: bytes) -> tuple[int, bytes]:
        """Kind and content of the answer; OSError or EOFError where the process ended."""
        self._to.write(HEAD.pack(PICTURE, len(encoded)))
        self._to.write(encoded)
        await self._to.drain()
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        kind, length = HEAD.unpack(await self._from.readexactly(HEAD.size))
        return kind, await self._from.readexactly(length)

    async def end(self) -> None:
        """Kill it, wait for its end, and close its pipes."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._to.close()
        await self._process.wait()
