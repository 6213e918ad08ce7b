"""Where the page is served, and who could reach it there."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress

from stylize_video.errors import SinkError

DEFAULT_ADDRESS = "127.0.0.1:8765"

_SHORTEST_TOKEN = 8


def parse_address(text: str, token: str | None) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``:PORT``.

    Raises:
        SinkError: it is no address, other machines could reach it and there is no token, or
            no browser could send the token.
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]*):(\d{1,5})", text)
    if not match or int(match[2]) > 65535:
        raise SinkError(f"--serve takes HOST:PORT, such as {DEFAULT_ADDRESS}; got {text!r}")
    host = match[1].strip("[]") or "127.0.0.1"
    # Browsers send it in a header, which carries nothing else.
    if token is not None and not re.fullmatch(rf"[!-~]{{{_SHORTEST_TOKEN},}}", token):
        raise SinkError(
            f"a token has at least {_SHORTEST_TOKEN} characters: ASCII letters, digits and signs, no spaces"
        )
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


def reachable(host: str) -> str:
    """``host``, or an address of this machine where ``host`` means all it has."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    if not everywhere:
        return host
    families = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
    for family, elsewhere in families if ":" in host else families[:1]:
        # Connecting a UDP socket sends nothing; it only chooses the address to send from.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as chosen:
            chosen.connect((elsewhere, 9))
            return str(chosen.getsockname()[0])
    return socket.gethostname()
