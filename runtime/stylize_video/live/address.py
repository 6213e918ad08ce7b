"""Where the page is served, and who could reach it there."""

from __future__ import annotations

import ipaddress
import re

from stylize_video.errors import SinkError

DEFAULT_ADDRESS = "127.0.0.1:8765"

_SHORTEST_TOKEN = 8


def parse_address(text: str, token: str | None) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``:PORT``.

    Raises:
        SinkError: it is no address, or other machines could reach it and there is no token.
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]*):(\d{1,5})", text)
    if not match or int(match[2]) > 65535:
        raise SinkError(f"--serve takes HOST:PORT, such as {DEFAULT_ADDRESS}; got {text!r}")
    host = match[1].strip("[]") or "127.0.0.1"
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise SinkError(f"a token has at least {_SHORTEST_TOKEN} characters")
    if token is None and not is_loopback(host):
        raise SinkError(
            f"other machines can reach {host}: choose a secret with --token, or serve {DEFAULT_ADDRESS}"
        )
    return host, int(match[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
