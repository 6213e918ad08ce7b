"""The connections of the page: how many there may be, and how long they may take."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from socketserver import BaseRequestHandler
from typing import Any

_MOST_CONNECTIONS = 96
"""Each is a thread and a file descriptor, of which a program has 1,024 on most systems."""


@dataclass
class Visit:
    """A connection: from where, whether it was let in, and until when its next request has to be whole."""

    address: str
    welcome: bool = False
    due: float = math.inf


class BoundedServer(ThreadingHTTPServer):
    """A server that bounds what connections take, and can end those that browsers keep open.

    Its handlers say in their :class:`Visit` who was let in, and until when they wait for a request.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseRequestHandler], *, ipv6: bool) -> None:
        self.address_family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._visits: dict[socket.socket, Visit] = {}
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:  # "::" serves IPv4 too, which Windows has to be told
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            crowded = len(self._visits) >= _MOST_CONNECTIONS and not self._send_away_a_stranger()
            if not crowded:
                self._visits[request] = Visit(client_address[0])
        if crowded:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def _send_away_a_stranger(self) -> bool:
        """End the oldest connection that was not let in, of the address that has most; False: there is none.

        Who has the token sends it at once, and is no stranger any more when others crowd in.
        """
        strangers = [(c, visit.address) for c, visit in self._visits.items() if not visit.welcome]
        if not strangers:
            return False
        (crowd, _), *_ = Counter(address for _, address in strangers).most_common(1)
        self._end(next(connection for connection, address in strangers if address == crowd))
        return True

    def service_actions(self) -> None:
        """End what has not sent a whole request in time; a byte now and then keeps nothing open."""
        now = time.monotonic()
        with self._lock:
            for connection in [c for c, visit in self._visits.items() if visit.due < now]:
                self._end(connection)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._visits.pop(request, None)
        super().shutdown_request(request)

    def visit(self, connection: socket.socket) -> Visit:
        """What is known of a connection, for its handler to change."""
        with self._lock:  # one that was sent away meanwhile ends at its next read
            return self._visits.get(connection) or Visit("")

    def hang_up(self) -> None:
        """End every connection."""
        with self._lock:
            for connection in list(self._visits):
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        """Its thread sees the end of it, and closes it."""
        del self._visits[connection]
        with suppress(OSError):  # it was closed by the other side
            connection.shutdown(socket.SHUT_RDWR)
