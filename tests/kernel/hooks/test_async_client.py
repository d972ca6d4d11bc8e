"""A real HTTP client, made on the caller's own event loop, used by an async hook."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

SAVED = HookEvent.AFTER_CHECKPOINT_SAVE


class Board(ThreadingHTTPServer):
    """A server that keeps what is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept open and used again

    def do_POST(self) -> None:
        assert isinstance(self.server, Board)
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def board() -> Iterator[Board]:
    server = Board()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_works_from_afire_and_from_sync_saves(board: Board, tmp_path: Path) -> None:
    async def main() -> tuple[list[str], list[tuple[int, int]]]:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(board.url, content="before")  # leaves a connection that belongs to this loop

            async def announce(context: object) -> None:
                await client.post(board.url, content=str(context.checkpoint_id))  # type: ignore[attr-defined]

            kernel = Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend="memory", quiet=True)
            try:
                kernel.hooks.register_hook("announce", announce, [SAVED], timeout=10)
                await kernel.hooks.afire(SAVED, checkpoint_id="fired")
                ids = ["before", "fired"]
                ids.append(await asyncio.to_thread(kernel.save, {"x": 1}, step=1))  # this loop goes on meanwhile
                lines = [line for line in kernel.hooks.stats() if line.plugin == "announce"]
                await client.post(board.url, content="after")
            finally:
                await asyncio.to_thread(kernel.close)
            return [*ids, "after"], [(line.calls, line.errors + line.timeouts) for line in lines]

    expected, stats = asyncio.run(main())
    assert stats == [(2, 0)]
    assert board.posted == expected


def test_a_loop_that_stands_still_is_not_waited_for(board: Board, tmp_path: Path) -> None:
    async def main() -> None:
        async def announce(context: object) -> None:
            async with httpx.AsyncClient(trust_env=False) as client:  # its own: it works on any loop
                await client.post(board.url, content=str(context.step))  # type: ignore[attr-defined]

        with Kernel.open(f"sqlite:///{tmp_path}/e.db", storage_backend="memory", quiet=True) as kernel:
            kernel.hooks.register_hook("announce", announce, [SAVED])
            kernel.save({"x": 1}, step=1)  # on the loop's own thread
            thread = threading.Thread(target=kernel.save, args=({"x": 2},), kwargs={"step": 2})
            thread.start()
            thread.join(20)  # the loop stands still, and the hook of the other thread must not wait for it
            assert not thread.is_alive()

    asyncio.run(main())
    assert board.posted == ["1", "2"]
