"""A proxy of TCP connections that misbehaves: delays, cuts at any byte, silence. Everything is drawn from a seed.

    with Proxy(port_of_the_server, seed=1) as proxy:
        connect to 127.0.0.1:proxy.port

Per direction of a connection, piece by piece as bytes come: `delay_share` of the pieces wait; after a drawn number of
bytes the connection is cut (mean `cut_bytes`), in the middle of a piece; `stall_share` of the cuts are silent at first:
nothing more passes in that direction, and the peers learn of the end only after `stall_seconds`.
"""

import asyncio
import dataclasses
import random
import threading

PIECE = 16384


@dataclasses.dataclass(frozen=True)
class Faults:
    delay_share: float = 0.05
    delay_seconds: float = 0.02
    cut_bytes: int = 100_000
    stall_share: float = 0.2
    stall_seconds: float = 0.3


class Proxy:
    def __init__(self, target_port, seed, faults=None):
        self.cuts = self.stalls = self.delays = self.connections = 0
        self.port = 0
        self._target_port, self._random, self._faults = target_port, random.Random(seed), faults or Faults()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._listens = threading.Event()

    def __enter__(self):
        self._thread.start()
        self._listens.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def calm(self):
        """From here on nothing goes wrong; connections that are doomed still end."""
        self._faults = Faults(0, 0, 1 << 60, 0, 0)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, up_writer)
        await asyncio.gather(self._pass(reader, up_writer, both), self._pass(up_reader, writer, both))

    async def _pass(self, reader, writer, both):
        """Until the end of either side, or the cut."""
        left = self._random.expovariate(1 / self._faults.cut_bytes)
        try:
            while data := await reader.read(PIECE):
                await self._delay()
                writer.write(data[: int(left)] if left < len(data) else data)
                await writer.drain()
                left -= len(data)
                if left < 0:
                    await self._cut()
                    break
        except OSError:
            pass
        for side in both:
            side.transport.abort()

    async def _delay(self):
        if self._random.random() < self._faults.delay_share:
            self.delays += 1
            await asyncio.sleep(self._random.uniform(0, self._faults.delay_seconds))

    async def _cut(self):
        self.cuts += 1
        if self._random.random() < self._faults.stall_share:
            self.stalls += 1
            await asyncio.sleep(self._faults.stall_seconds)
