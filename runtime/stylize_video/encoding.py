"""Codecs and containers: what a result is encoded with, and in what kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stylize_video.errors import SinkError


@dataclass(frozen=True)
class Codec:
    """A video codec: its encoder, its pixels, and its usual quality.

    ``crf`` is the encoder's constant rate factor (lower is better), None for codecs
    without one; ``preset`` names the encoder's trade of speed for size.
    """

    encoder: str
    pixels: str
    suffixes: tuple[str, ...]
    crf: int | None = None
    crf_range: tuple[int, int] = (0, 51)
    preset: str | None = None
    options: tuple[tuple[str, str], ...] = ()


CODECS: Mapping[str, Codec] = {
    "h264": Codec("libx264", "yuv420p", (".mp4", ".mov", ".mkv", ".avi", ".ts"), 20, preset="veryfast"),
    "hevc": Codec(
        "libx265",
        "yuv420p",
        (".mp4", ".mov", ".mkv"),
        24,
        preset="veryfast",
        options=(("x265-params", "log-level=error"), ("tag", "hvc1")),
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        (".webm", ".mkv", ".mp4"),
        31,
        (0, 63),
        options=(("b", "0"), ("deadline", "realtime"), ("cpu-used", "6"), ("row-mt", "1")),
    ),
    "av1": Codec("libsvtav1", "yuv420p", (".mp4", ".webm", ".mkv"), 30, (0, 63), preset="10"),
    "prores": Codec("prores_ks", "yuv422p10le", (".mov", ".mkv")),
    "ffv1": Codec("ffv1", "yuv444p", (".mkv", ".avi")),
}
"""By the names that users type."""

_DEFAULT_CODECS = {".webm": "vp9"}


@dataclass(frozen=True)
class Encoding:
    """How to encode; None leaves it to the codec, ``codec`` None to the file's ending."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    bitrate: int | None = None
    """Bits a second; takes the place of a constant quality."""

    def resolved(self, output: Path) -> tuple[Codec, dict[str, str]]:
        """The codec for this file, and the options of its encoder.

        Raises:
            SinkError: the codec is unknown, does not go into this kind of file, or an
                option is out of its range.
        """
        suffix = output.suffix.lower()
        known = sorted({s for codec in CODECS.values() for s in codec.suffixes})
        if suffix not in known:
            raise SinkError(f"cannot write {output}: name a file that ends in {', '.join(known)}")
        name = self.codec or _DEFAULT_CODECS.get(suffix, "h264")
        codec = CODECS.get(name)
        if codec is None:
            raise SinkError(f"unknown codec {name!r}; there are {', '.join(CODECS)}")
        if suffix not in codec.suffixes:
            raise SinkError(
                f"{name} does not go into {suffix} files; it goes into {', '.join(codec.suffixes)}"
            )
        options = dict(codec.options)
        if self.preset or codec.preset:
            options["preset"] = self.preset or codec.preset or ""
        if self.bitrate is not None:
            if self.bitrate < 1000:
                raise SinkError(f"the bit rate must be at least 1000 bits a second, got {self.bitrate}")
        elif self.crf is not None or codec.crf is not None:
            crf = codec.crf if self.crf is None else self.crf
            low, high = codec.crf_range
            if codec.crf is None or crf is None or not low <= crf <= high:
                reason = f"between {low} and {high}" if codec.crf is not None else "left out"
                raise SinkError(f"the crf of {name} must be {reason}, got {crf}")
            options["crf"] = str(crf)
        return codec, options
