"""Codecs and containers: what a result is encoded with, and in what kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

from stylize_video.errors import SinkError
from stylize_video.video.hardware import HARDWARE, why_not
from stylize_video.video.pictures import PICTURES


@dataclass(frozen=True)
class Codec:
    """A video codec: its encoder, its pixels, and its usual quality.

    ``crf`` is the encoder's constant rate factor (lower is better), None for codecs
    without one; ``preset`` names the encoder's usual trade of speed for size, one of ``presets``,
    and ``tuning`` are options that go with that preset only, not with one that is asked for;
    ``even`` says that it wants even sides; ``alpha`` are its pixels with transparency, where it has
    them, and ``alpha_suffixes`` the files that hold those. ``most_bits`` is the highest bit rate that the
    encoder takes, ``least_side`` the shortest side in pixels, ``least_side_at_bitrate`` that at a bit rate;
    encoders tell none of these.
    """

    encoder: str
    pixels: str
    suffixes: tuple[str, ...]
    crf: int | None = None
    crf_range: tuple[int, int] = (0, 51)
    preset: str | None = None
    presets: tuple[str, ...] = ()
    tuning: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    even: bool = False
    alpha: str | None = None
    alpha_suffixes: tuple[str, ...] = ()
    most_bits: int = 2_147_483_647_000
    least_side: int = 1
    least_side_at_bitrate: int = 1

    def check_size(self, width: int, height: int, *, at_bitrate: bool) -> None:
        """Raise SinkError where the encoder does not take pictures of this size."""
        least = self.least_side_at_bitrate if at_bitrate else self.least_side
        if min(width, height) < least:
            how = " to a bit rate" if at_bitrate else ""
            raise SinkError(
                f"{self.encoder} encodes pictures from {least}x{least} on{how}, and not of {width}x{height};"
                " choose another --codec or --scale"
            )


_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_AV1_PRESETS = tuple(map(str, range(14)))

CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        "libx264",
        "yuv420p",
        (".mp4", ".mov", ".mkv", ".avi", ".ts"),
        20,
        # Superfast searches quickly, but spends as much on what is gone in a frame as on what stays.
        # With that put back: half of veryfast's time for some 8 % more bytes.
        preset="superfast",
        presets=_X26X_PRESETS,
        tuning=(("x264-params", "mbtree=1:rc-lookahead=10"),),
        even=True,
    ),
    "hevc": Codec(
        "libx265",
        "yuv420p",
        (".mp4", ".mov", ".mkv"),
        24,
        preset="veryfast",
        presets=_X26X_PRESETS,
        options=(("x265-params", "log-level=error"), ("tag", "hvc1")),
        even=True,
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        (".webm", ".mkv", ".mp4"),
        31,
        (0, 63),
        options=(("b", "0"), ("deadline", "realtime"), ("cpu-used", "6"), ("row-mt", "1")),
        alpha="yuva420p",
        alpha_suffixes=(".webm", ".mkv"),
    ),
    "av1": Codec(
        "libsvtav1",
        "yuv420p",
        (".mp4", ".webm", ".mkv"),
        30,
        (0, 63),
        preset="9",
        presets=_AV1_PRESETS,
        most_bits=100_000_000,
        least_side=32,  # it waits for ever at 24x96
        least_side_at_bitrate=64,
    ),
    "prores": Codec(
        "prores_ks", "yuv422p10le", (".mov", ".mkv"), alpha="yuva444p10le", alpha_suffixes=(".mov", ".mkv")
    ),
    "ffv1": Codec("ffv1", "yuv444p", (".mkv", ".avi"), alpha="bgra", alpha_suffixes=(".mkv",)),
    "gif": Codec("gif", "pal8", (".gif",)),
    "webp": Codec(
        "libwebp_anim",
        "yuv420p",
        (".webp",),
        options=(("quality", "80"),),
        alpha="yuva420p",
        alpha_suffixes=(".webp",),
    ),
}
"""By the names that users type."""

PIPE_FORMATS: Mapping[str, tuple[str, Codec]] = {
    "nut": ("nut", Codec("rawvideo", "yuv420p", ())),
    "y4m": ("yuv4mpegpipe", Codec("wrapped_avframe", "yuv420p", ())),
    "raw": ("rawvideo", Codec("rawvideo", "bgr24", ())),
}
"""FFmpeg's names of the containers that a pipe can have, and what is in them."""

ANIMATIONS = (".gif", ".webp")
"""Endings of pictures that move: a frame is stored as what changed since the last, so no run can go on."""

_DEFAULT_CODECS = {".webm": "vp9", ".gif": "gif", ".webp": "webp"}
_DEFAULT_ALPHA_CODECS = {**_DEFAULT_CODECS, ".mov": "prores", ".mkv": "ffv1"}


@dataclass(frozen=True)
class Encoding:
    """How to encode; None leaves it to the codec, ``codec`` None to the file's ending.

    Raises:
        SinkError: there is no such codec, encoder or format of a pipe, they do not go together, or a
            number makes no sense.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    bitrate: int | None = None
    """Bits a second; takes the place of a constant quality."""
    alpha: bool = False
    """Keep transparency."""
    encoder: str = "software"
    """``software``, a name of :data:`HARDWARE`, or ``auto``: hardware where it works."""
    pipe: str = "nut"
    """What goes through a pipe: ``nut``, ``y4m`` or ``raw``."""

    def __post_init__(self) -> None:
        on_chip = self._on_chip()
        if self.codec is not None and self.codec not in CODECS and not on_chip:
            raise SinkError(f"unknown codec {self.codec!r}; there are {', '.join(CODECS)}")
        if self.encoder not in ("software", "auto", *HARDWARE):
            raise SinkError(
                f"unknown encoder {self.encoder!r}; there are software, auto, {', '.join(HARDWARE)}"
            )
        if on_chip and self.encoder not in ("software", "auto", on_chip.encoder):
            raise SinkError(f"{self.codec} is not of {self.encoder}; leave out --encoder")
        if self.pipe not in PIPE_FORMATS:
            raise SinkError(f"unknown format {self.pipe!r} for a pipe; there are {', '.join(PIPE_FORMATS)}")
        for name, number in (("crf", self.crf), ("bit rate", self.bitrate)):
            if number is not None and not isinstance(number, Integral):
                raise SinkError(f"the {name} must be a whole number, got {number!r}")
        if self.bitrate is not None and self.crf is not None:
            raise SinkError("--crf and --bitrate are two ways to choose the quality; leave out one of them")
        if self.bitrate is not None and self.bitrate < 1000:
            raise SinkError(f"the bit rate must be at least 1000 bits a second, got {self.bitrate}")

    def resolved(self, output: Path) -> tuple[Codec, dict[str, str]]:
        """The codec for this file, and the options of its encoder.

        Raises:
            SinkError: the codec does not go into this kind of file, or an option is out of
                its range; or hardware was asked for that is not here.
        """
        suffix = output.suffix.lower()
        known = sorted({s for codec in CODECS.values() for s in codec.suffixes})
        if suffix not in known:
            hint = ""
            if suffix in PICTURES:
                hint = f", or frames/%05d{suffix}; one picture is made of a picture file alone"
                hint += " (in Python, by stylize_picture)"
            raise SinkError(f"cannot write {output}: name a file that ends in {', '.join(known)}{hint}")
        defaults = _DEFAULT_ALPHA_CODECS if self.alpha else _DEFAULT_CODECS
        name = self.codec or defaults.get(suffix, "h264")
        if on_chip := self._on_chip():
            return on_chip.resolved(output)
        codec = CODECS[name]
        if suffix not in codec.suffixes:
            raise SinkError(
                f"{name} does not go into {suffix} files; it goes into {', '.join(codec.suffixes)}"
            )
        if self.alpha:
            if self.encoder not in ("software", "auto"):
                raise SinkError(f"{self.encoder} encodes no transparency; leave out --encoder or --alpha")
            return self._optioned(_with_alpha(codec, name, suffix), name)
        if self.encoder != "software" and (maker := self._maker(name)):
            return self._on_hardware(codec, name, maker)
        return self._optioned(codec, name)

    def check_unused(self, where: str, *, holds_alpha: bool) -> None:
        """Raise SinkError where more is asked for than ``where`` has, which is no video file."""
        if self.alpha and not holds_alpha:
            raise SinkError(f"{where} holds no transparency; {_holders_of_alpha()}")
        if asked := self.asked:
            raise SinkError(f"leave out {' and '.join(asked)}: {where} is not encoded as video files are")

    @property
    def asked(self) -> list[str]:
        """The options of what only video files have, that are not left out."""
        options = {"codec": self.codec, "crf": self.crf, "preset": self.preset, "bitrate": self.bitrate}
        asked = [f"--{name}" for name, value in options.items() if value is not None]
        return asked + ["--encoder"] * (self.encoder not in ("software", "auto"))

    def _optioned(self, codec: Codec, name: str) -> tuple[Codec, dict[str, str]]:
        options = dict(codec.options)
        if self.preset and not codec.preset:
            raise SinkError(f"{name} has no presets; leave out --preset")
        if self.preset and self.preset not in codec.presets:
            known = ", ".join(codec.presets)
            raise SinkError(f"{name} has no preset {self.preset!r}; there are {known}")
        if self.bitrate and codec.crf is None:
            raise SinkError(f"{name} has no bit rate to choose; leave out --bitrate")
        if self.bitrate and self.bitrate > codec.most_bits:
            most = f"{codec.most_bits} bits a second"
            raise SinkError(f"the bit rate of {name} must be at most {most}, got {self.bitrate}")
        if self.preset:
            options["preset"] = self.preset
        elif codec.preset:
            options |= {"preset": codec.preset, **dict(codec.tuning)}
        if self.bitrate is None and (self.crf is not None or codec.crf is not None):
            options["crf"] = str(self._quality(codec, name))
        return codec, options

    def _maker(self, name: str) -> str | None:
        """Whose hardware encodes ``name``; None is nobody's, where that is left to us."""
        if self.encoder == "auto":
            for maker, hardware in HARDWARE.items():
                works = name in hardware.codecs and not why_not(f"{name}_{maker}", hardware.pixels)
                if works and (hardware.quality or self.bitrate):
                    return maker
            return None
        asked = HARDWARE[self.encoder]
        if name not in asked.codecs:
            raise SinkError(f"{self.encoder} does not encode {name}; it encodes {', '.join(asked.codecs)}")
        if why := why_not(f"{name}_{self.encoder}", asked.pixels):
            raise SinkError(
                f"{name}_{self.encoder} does not work here ({why}); --encoder software always does"
            )
        return self.encoder

    def _on_hardware(self, codec: Codec, name: str, maker: str) -> tuple[Codec, dict[str, str]]:
        hardware = HARDWARE[maker]
        options = dict(hardware.options)
        if self.preset:
            options["preset"] = self.preset
        if tag := dict(codec.options).get("tag"):
            options["tag"] = tag
        if self.bitrate is None:
            if not hardware.quality:
                raise SinkError(f"{maker} encodes to a bit rate; name one with --bitrate")
            options |= dict.fromkeys(hardware.quality, str(self._quality(codec, name)))
        return replace(codec, encoder=f"{name}_{maker}", pixels=hardware.pixels, even=True), options

    def _on_chip(self) -> Encoding | None:
        """The same with codec and encoder apart, where they are given by FFmpeg's name: ``h264_nvenc``."""
        base, _, chip = (self.codec or "").rpartition("_")
        return replace(self, codec=base, encoder=chip) if base in CODECS and chip in HARDWARE else None

    def _quality(self, codec: Codec, name: str) -> int:
        crf = codec.crf if self.crf is None else self.crf
        low, high = codec.crf_range
        if codec.crf is None or crf is None or not low <= crf <= high:
            wanted = f"between {low} and {high}" if codec.crf is not None else "left out"
            raise SinkError(f"the crf of {name} must be {wanted}, got {crf}")
        return crf


def _with_alpha(codec: Codec, name: str, suffix: str) -> Codec:
    if codec.alpha is None or suffix not in codec.alpha_suffixes:
        raise SinkError(f"{name} in {suffix} files holds no transparency; {_holders_of_alpha()}")
    return replace(codec, pixels=codec.alpha)


def _holders_of_alpha() -> str:
    holders = (f"{n} in {', '.join(c.alpha_suffixes)}" for n, c in CODECS.items() if c.alpha_suffixes)
    return f"{'; '.join(holders)} does, and PNG, TIFF and WebP pictures"
