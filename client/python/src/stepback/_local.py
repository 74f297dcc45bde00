"""A server inside this process, for one host and no set-up."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Optional, Type, Union

from stepback._server import Server, connect
from stepback._transport import EmbeddedServer, start_embedded


class LocalServer:
    """A running server; ``serve_local`` makes it. Leaving the ``with`` block stops it, snapshots included."""

    def __init__(self, core: EmbeddedServer) -> None:
        self._core = core

    @property
    def address(self) -> str:
        """host:port, for any client on this host."""
        return self._core.address

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads; "" without ``http_address``."""
        return f"http://{self._core.http_address}/metrics" if self._core.http_address else ""

    def connect(self, **options: Any) -> Server:
        """A connection to it; options as in ``stepback.connect``."""
        return connect(self.address, **options)

    def stop(self) -> None:
        """Waiting calls end, changed models are written to the data directory. Idempotent."""
        self._core.stop()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<stepback.LocalServer {self.address}>"


def serve_local(
    data_dir: Union[str, os.PathLike[str], None] = None,
    *,
    address: str = "127.0.0.1:0",
    http_address: str = "",
    compute_threads: int = 0,
    log_level: str = "warn",
) -> LocalServer:
    """Starts a server in this process.

    Args:
        data_dir: where models are kept; None: in memory only.
        address: host and port; port 0 takes a free one.
        http_address: where metrics and the status page are served, ``"127.0.0.1:0"``; default: nowhere.
        compute_threads: 0: one per core.
        log_level: least level that the server writes to standard error.

    ::

        with stepback.serve_local() as local, local.connect() as server:
            model = server.create_model("toy", {"w": numpy.zeros(3, numpy.float32)})
    """
    return LocalServer(
        start_embedded(
            address=address,
            http_address=http_address,
            data_dir="" if data_dir is None else os.fspath(data_dir),
            compute_threads=compute_threads,
            log_level=log_level,
        )
    )
