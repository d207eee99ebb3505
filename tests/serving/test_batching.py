"""Pictures of several requests in one run of the network."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnn_jax.serving.batching import Batcher


class Device:
    """A network that gives the mean of a picture, and writes down how many it was given at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        if (images == 255).any():
            raise RuntimeError("the device failed")
        return images.reshape(len(images), -1).mean(1, keepdims=True)


def run(device: Device, work: Callable[[Batcher], Awaitable[None]], coming: bool = False, wait: float = 0.05) -> None:
    async def running() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(device, pool, lambda: coming, (1, 4, 16), wait)
            worker = asyncio.create_task(batcher.work())
            await work(batcher)
            worker.cancel()

    asyncio.run(running())


def picture(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def test_each_picture_gets_its_own_row_and_no_place_of_a_batch_is_empty() -> None:
    async def work(batcher: Batcher) -> None:
        rows = await asyncio.gather(*(batcher(picture(i)) for i in range(23)))
        assert [float(row[0]) for row in rows] == list(range(23))

    device = Device()
    run(device, work)
    assert device.sizes == [16, 4, 1, 1, 1]


def test_a_picture_waits_for_others_that_are_coming() -> None:
    async def work(batcher: Batcher) -> None:
        first = asyncio.ensure_future(batcher(picture(1)))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(batcher(picture(i)) for i in range(15)))

    device = Device()
    run(device, work, coming=True, wait=60)
    assert device.sizes == [16]


@pytest.mark.parametrize(("coming", "wait"), [(False, 3600), (True, 0.01)], ids=["none comes", "they never come"])
def test_and_not_for_ever(coming: bool, wait: float) -> None:
    async def work(batcher: Batcher) -> None:
        assert float((await batcher(picture(1)))[0]) == 1

    run(Device(), work, coming, wait)


def test_a_batch_that_fails_is_the_only_one() -> None:
    async def work(batcher: Batcher) -> None:
        with pytest.raises(RuntimeError, match="the device failed"):
            await batcher(picture(255))
        assert float((await batcher(picture(7)))[0]) == 7

    run(Device(), work)


def test_a_request_that_is_gone_takes_nothing_with_it() -> None:
    async def work(batcher: Batcher) -> None:
        gone = asyncio.ensure_future(batcher(picture(1)))
        await asyncio.sleep(0)
        gone.cancel()
        assert float((await batcher(picture(2)))[0]) == 2

    run(Device(), work)
