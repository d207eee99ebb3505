"""How much of `predict`'s bare speed a server keeps, under many clients on the same cores.

    python benchmarks/serve.py runs/mobilenet_ft photos
    python benchmarks/serve.py runs/mobilenet_ft photos --clients=64 --seconds=60

The photographs are classified by `cnn_jax.load(run)` in a process of its own, before and after; in between clients ask
`python -m cnn_jax.serve`, each as soon as it has its answer, on a connection that is kept. Clients and server share the
cores. Prints both speeds, their ratio, errors, latencies, and the memory of the server and its decoders over time.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

BARE = """
import sys, time
from pathlib import Path
import cnn_jax
from cnn_jax.runtime.tuning import keep_compiled_programs
keep_compiled_programs()
classifier, paths = cnn_jax.load(sys.argv[1]), sys.argv[2:]
list(classifier.files(paths[:64]))
begun = time.perf_counter()
done = sum(result.error is None for result in classifier.files(paths))
print(done / (time.perf_counter() - begun))
"""
SECONDS_BETWEEN_LOOKS = 5.0


def bare(run: Path, paths: list[Path]) -> float:
    """Photographs a second, without a server."""
    done = subprocess.run([sys.executable, "-c", BARE, run, *paths], check=True, capture_output=True, text=True)
    return float(done.stdout)


class Clients:
    """Ask one picture after the other, each on a connection of its own."""

    def __init__(self, port: int, pictures: list[bytes]) -> None:
        head = "POST /predict?top=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
        self._port, self._requests = port, [head.format(len(picture)).encode() + picture for picture in pictures]
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()

    async def run(self, count: int, seconds: float) -> None:
        """So many, for so long."""
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self._one(number, until) for number in range(count)))

    async def _one(self, number: int, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while (begun := time.perf_counter()) < until:
            writer.write(self._requests[number % len(self._requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(found[1]) if found else 0)
            self.seconds.append(time.perf_counter() - begun)
            self.statuses[head[9:12].decode()] += 1
            number += 7  # another picture
        writer.close()


def megabytes(process: int) -> float:
    """That a process holds."""
    return int(Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


async def look(process: int, begun: float) -> None:
    """Print the memory of the server and its decoders again and again."""
    while True:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        decoders = ", ".join(f"{megabytes(int(child)):.0f}" for child in children)
        print(f"{time.perf_counter() - begun:5.0f} s  server {megabytes(process):.0f} MB, decoders {decoders} MB")
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def measure(clients: Clients, process: int, count: int, seconds: float) -> None:
    """The clients, with a look at the memory meanwhile."""
    looking = asyncio.create_task(look(process, time.perf_counter()))
    await clients.run(count, seconds)
    looking.cancel()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    paths = [path for path in sorted(arguments.photographs.rglob("*")) if path.suffix in (".jpg", ".png")][:1000]
    before = bare(arguments.run, paths)
    command = [sys.executable, "-m", "cnn_jax.serve", arguments.run, "--port=0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        port = next(int(found[1]) for line in server.stdout if (found := re.search(r"^ready .*:(\d+)/", line)))
        clients = Clients(port, [path.read_bytes() for path in paths])
        asyncio.run(clients.run(arguments.clients, 5))  # warm
        clients.seconds.clear()
        clients.statuses.clear()
        begun = time.perf_counter()
        asyncio.run(measure(clients, server.pid, arguments.clients, arguments.seconds))
        speed = len(clients.seconds) / (time.perf_counter() - begun)
        server.terminate()
        server.communicate()
    after = bare(arguments.run, paths)
    print(f"bare       {before:.1f} and {after:.1f} photographs a second")
    print(f"served     {speed:.1f} photographs a second: {speed / statistics.mean((before, after)):.2f} of bare")
    percentiles = statistics.quantiles(clients.seconds, n=100)
    print(f"latency    p50 {1000 * percentiles[49]:.0f} ms, p99 {1000 * percentiles[98]:.0f} ms")
    print(f"answers    {dict(clients.statuses)}; exit code {server.returncode}")


if __name__ == "__main__":
    main()
