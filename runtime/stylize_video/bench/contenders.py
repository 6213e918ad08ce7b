"""What runs against what: variants of a style, another style, the field's network, OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from stylize_video.bench.baseline import transformer_net
from stylize_video.bench.openvino import OpenVinoNetwork
from stylize_video.styles.contract import Precision
from stylize_video.styles.device import Device, cuda_problem
from stylize_video.styles.guard import try_out
from stylize_video.styles.network import Network
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style, find_variants
from stylize_video.styles.variants import open_session

EVERY = "all"
"""Instead of a device or a precision: each one that there is."""


class MeasuredNetwork(Network, Protocol):
    """A network that says what it is: a :class:`~stylize_video.styles.session.StyleSession`, or like one."""

    @property
    def at_once(self) -> int:
        """How many frames it is meant to stylize at a time."""

    @property
    def precision(self) -> str:
        """The arithmetic inside."""

    @property
    def device(self) -> Device:
        """Where it runs."""

    def prepare(self, height: int, width: int) -> None:
        """Make frames of this size as fast as they get."""


@dataclass(frozen=True)
class Contender:
    """Something that stylizes frames.

    Attributes:
        name: how it is called in the table.
        open: opens it, for so many frames at once.
    """

    name: str
    open: Callable[[int], MeasuredNetwork]


def find_contenders(
    style: Path,
    *,
    device: str,
    precision: Precision | Literal["auto"] | None,
    against: Path | None = None,
    baseline: bool = False,
    openvino: bool = False,
) -> Iterator[Contender]:
    """The style first, in every way that is asked for.

    Args:
        style: an ONNX file.
        device: as users name it, or :data:`EVERY` that works here.
        precision: as for :func:`~stylize_video.styles.variants.open_session`; None is every variant.
        against: another style.
        baseline: the network that the field runs, with random weights.
        openvino: the style's files on OpenVINO.

    Raises:
        StyleError: there is no such style or variant.
    """
    devices = ["cpu"] + ([] if cuda_problem() else ["cuda"]) if device == EVERY else [device]
    # A file of any other name than NAME.onnx has no variants, and is its own fp32.
    precisions: list[Precision | Literal["auto"]] = [precision or "fp32"]
    if precision is None:
        precisions = [*find_variants(style)] or precisions
    for kind in devices:
        for one in precisions:
            yield Contender(style.stem, _opener(style, kind, one))
        if against:
            other = find_style(against)
            yield Contender(f"{other.stem} (against)", _opener(other, kind, "auto"))
        if baseline:
            yield Contender("TransformerNet-32", _baseline_opener(kind))
    if openvino:
        for path in find_variants(style).values() or [style]:
            yield Contender(f"{path.stem} in OpenVINO", _openvino_opener(path))


def _opener(
    style: Path, device: str, precision: Precision | Literal["auto"]
) -> Callable[[int], StyleSession]:
    def opened(at_once: int) -> StyleSession:
        return open_session(style, device=device, precision=precision, at_once=at_once, check=try_out)

    return opened


def _baseline_opener(device: str) -> Callable[[int], StyleSession]:
    def opened(at_once: int) -> StyleSession:
        return StyleSession(transformer_net(), device, input_range=1, at_once=at_once)

    return opened


def _openvino_opener(path: Path) -> Callable[[int], OpenVinoNetwork]:
    def opened(at_once: int) -> OpenVinoNetwork:
        try_out(path)
        return OpenVinoNetwork(Style.load(path), at_once=at_once)

    return opened
