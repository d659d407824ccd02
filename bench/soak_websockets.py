"""The WebSockets of bench/soak: a thread with an event loop of its own, in which each of them sends something every few
moments, expects it back, and is opened again when the server closes it with 1012 (RFC 6455, 7.4.1: service restart)."""

import asyncio
import random
import threading
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from soak_client import CLIENT_TIMEOUT

PAUSE = 2.0  # at most, between two messages
SERVICE_RESTART = 1012


class WebSockets(threading.Thread):
    def __init__(self, make_socket, tally, count):
        super().__init__(daemon=True)
        self.make_socket, self.tally, self.count = make_socket, tally, count
        self.stopping = threading.Event()

    def run(self):
        asyncio.run(self.keep_open())

    async def keep_open(self):
        tasks = [asyncio.create_task(self.one(i)) for i in range(self.count)]
        await asyncio.to_thread(self.stopping.wait)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def one(self, number):
        """One WebSocket after another, until it is cancelled."""
        while True:
            begun = time.monotonic()
            try:
                async with await self.open() as socket:
                    await self.talk(socket, number)
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else None
                if code == SERVICE_RESTART:
                    self.tally.count("1012", None, 0.0)
                else:
                    self.tally.count("early", f"a WebSocket: {error}", 0.0)
            except ConnectionRefusedError as error:
                self.tally.count("refused", f"a WebSocket: {error!r}", 0.0)
            except ConnectionError as error:
                self.tally.count("reset", f"a WebSocket: {error!r}", 0.0)
            except InvalidMessage as error:
                self.tally.count("early", f"a handshake: {error!r} by {error.__cause__!r}", 0.0)
            except InvalidHandshake as error:
                self.tally.count("5xx", f"a handshake: {error!r}", 0.0)
            except TimeoutError as error:
                self.tally.count("timeout", f"a WebSocket: {error!r}", time.monotonic() - begun)
            await asyncio.sleep(random.uniform(0, 0.1))

    async def open(self):
        connection = await asyncio.to_thread(self.make_socket, CLIENT_TIMEOUT)
        connection.setblocking(False)
        return await connect("ws://soak.test/", sock=connection, open_timeout=CLIENT_TIMEOUT, close_timeout=CLIENT_TIMEOUT, ping_interval=None)

    async def talk(self, socket, number):
        for i in range(1 << 31):
            text = f"{number} {i}"
            begun = time.monotonic()
            async with asyncio.timeout(CLIENT_TIMEOUT):
                await socket.send(text)
                echo = await socket.recv()
            seconds = time.monotonic() - begun
            self.tally.count("echoed" if echo == text else "other", None if echo == text else f"{echo!r} for {text!r}", seconds)
            await asyncio.sleep(random.uniform(0, PAUSE))
