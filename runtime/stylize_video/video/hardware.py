"""Encoders on graphics chips: found by opening one, for lists of what a build has say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import av.error
from av.codec.codec import UnknownCodecError

from stylize_video.errors import reason
from stylize_video.quiet import quiet_stderr


@dataclass(frozen=True)
class Hardware:
    """A maker's encoders: for which codecs, with which pixels, and how a quality is asked for.

    ``quality`` are the options that take the number of ``--crf``; an empty tuple says that there
    are none, so that a bit rate is needed.
    """

    codecs: tuple[str, ...]
    quality: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    pixels: str = "yuv420p"


HARDWARE: Mapping[str, Hardware] = {
    "nvenc": Hardware(("h264", "hevc", "av1"), ("cq",), (("rc", "vbr"), ("preset", "p4"))),
    "qsv": Hardware(("h264", "hevc", "vp9", "av1"), ("global_quality",), pixels="nv12"),
    "amf": Hardware(("h264", "hevc", "av1"), ("qp_i", "qp_p"), (("rc", "cqp"),), pixels="nv12"),
    "videotoolbox": Hardware(("h264", "hevc"), options=(("allow_sw", "0"),)),
}
"""By the suffix of FFmpeg's names of the encoders: NVIDIA, Intel, AMD, Apple."""


@lru_cache
def why_not(encoder: str, pixels: str) -> str | None:
    """None where ``encoder`` works on this machine, else the reason."""
    with quiet_stderr():  # drivers that are missing are told in many lines; x265 says goodbye
        try:
            context: Any = av.CodecContext.create(encoder, "w")
            context.width, context.height, context.pix_fmt = 256, 256, pixels
            context.time_base = Fraction(1, 25)
            context.open()
            del context
        except UnknownCodecError:
            return "FFmpeg is built without it"
        except (av.error.FFmpegError, ValueError) as error:
            return reason(error)
    return None
