"""Which file of a style is run: the one that is named, or the variant that is fastest where it is right."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from stylize_video import __version__
from stylize_video.cache import key_of, recall, remember
from stylize_video.errors import StyleError
from stylize_video.machine import cores, processor
from stylize_video.styles.contract import PRECISIONS, Precision
from stylize_video.styles.device import resolve_device
from stylize_video.styles.golden import golden_problem
from stylize_video.styles.session import StyleSession, check_numbers
from stylize_video.styles.style import (
    Style,
    find_style,
    find_variants,
    read_metadata,
    read_model,
    variant_path,
)

_WORTH_IT = 0.95
"""Of the time of fp32: what int8 must stay below, as it is a little coarser."""

_MEASURED_RUNS = 4
"""Frames of each of two variants, the fastest of which counts."""

_MEASURED_SIZE = (192, 256)
"""Height and width of those frames, in pixels."""

_log = logging.getLogger(__name__)


def parse_precision(text: str) -> Precision | Literal["auto"]:
    """Check a ``--precision``.

    Raises:
        StyleError: it is none of auto, fp32, fp16 and int8.
    """
    if text == "auto":
        return "auto"
    for known in PRECISIONS:
        if text == known:
            return known
    raise StyleError(f"unknown precision {text!r}; there are auto, {', '.join(PRECISIONS)}")


def open_session(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    input_range: int | None = None,
    threads: int = 0,
    at_once: int = 1,
    check: Callable[[Path], None] = lambda _: None,
) -> StyleSession:
    """Open a style in the variant that suits the device.

    Args:
        name_or_path: a style file, or the name of a bundled style.
        device: as for :class:`StyleSession`.
        precision: ``auto`` takes the variant that is fastest here, if its golden pair comes
            out right: fp16 on GPUs; on CPUs int8 and fp32 are measured once and the answer
            is remembered in the user's cache folder. A variant that is damaged, of another
            training, or wrong here is left out with a warning. The others insist. A file that is
            named and is what is asked for is taken, whatever lies beside it.
        input_range: as for :class:`StyleSession`.
        threads: as for :class:`StyleSession`.
        at_once: as for :class:`StyleSession`.
        check: called with each file before it is read, to raise a StyleError where it should not
            be: with :func:`~stylize_video.styles.guard.try_out`, as in the commands, files from anywhere are
            tried out in another process first.

    Raises:
        StyleError: the style or the variant does not exist, or cannot run.
        DeviceError: the device asked for cannot be had.
    """
    check_numbers(input_range, threads=threads, at_once=at_once)
    path = find_style(name_or_path)

    def session(chosen: Path) -> StyleSession:
        check(chosen)
        return StyleSession(
            Style.load(chosen), device, input_range=input_range, threads=threads, at_once=at_once
        )

    wanted = parse_precision(precision)
    if wanted != "auto":
        return session(_of_precision(path, wanted, check))
    variants = find_variants(path)
    if path != variants.get("fp32"):
        return session(path)  # the user named one variant, or a file of another maker
    on_gpu = resolve_device(device).kind == "cuda"
    faster = variants.get("fp16" if on_gpu else "int8")
    if faster is None:
        return session(path)
    if problem := variant_problem(faster, path, check):
        _log.warning("%s is not used: %s", faster.name, problem)
        return session(path)
    if on_gpu:  # what half precision gains is sure on any
        return _if_right(session, faster) or session(path)
    return _faster_on_cpu(session, path, faster, threads=threads, at_once=at_once)


def _of_precision(path: Path, precision: Precision, check: Callable[[Path], None]) -> Path:
    """The file named, if it is what is asked for, else the variant beside it.

    Raises:
        StyleError: there is none.
    """
    variants = find_variants(path)
    if path not in (variants.get(precision), variant_path(path, "fp32")):
        # By its name it is another variant, or none: only the file itself knows.
        check(path)
        metadata = read_metadata(read_model(path), path)
        if precision == (metadata.precision if metadata else "fp32"):
            return path
    if precision not in variants:
        raise StyleError(
            f"{path} has no {precision} variant; it has {', '.join(variants) or 'none'}"
            f" (export-onnx --precision {precision} makes one)"
        )
    return variants[precision]


def variant_problem(variant: Path, fp32: Path, check: Callable[[Path], None]) -> str | None:
    """Why a variant is not used beside ``fp32``: it is damaged, or an earlier export left it there.

    Such a one would look like the style looked then. ``check`` is as for :func:`open_session`.

    Raises:
        StyleError: ``fp32`` cannot be read.
    """
    weights = _weights_of(fp32, check)
    try:
        same = _weights_of(variant, check) == weights
    except StyleError as error:
        return str(error)
    return None if same else f"{variant} is of another training than {fp32}"


def _weights_of(path: Path, check: Callable[[Path], None]) -> str:
    """The hash of the checkpoint that a style was exported from."""
    check(path)
    metadata = read_metadata(read_model(path), path)
    return metadata.checkpoint_sha256 if metadata else ""


def _if_right(session: Callable[[Path], StyleSession], variant: Path) -> StyleSession | None:
    """The session of a variant that can run and whose golden pair comes out right here."""
    try:
        opened = session(variant)
        problem = golden_problem(opened)
    except StyleError as error:
        problem = str(error)
    if problem is None:
        return opened
    _log.warning("%s is not used: %s", variant.name, problem)
    return None


def _faster_on_cpu(
    session: Callable[[Path], StyleSession], fp32: Path, int8: Path, *, threads: int, at_once: int
) -> StyleSession:
    """Of two variants the one that is faster on this processor.

    What int8 gains depends on the network and on the processor's instructions (with VNNI two
    to three times, without often nothing), so it is measured: once for each style, processor
    and version, in about a tenth of a second.
    """
    circumstances = (
        processor(),
        str(cores()),
        f"{threads} {at_once}",
        ort.__version__,
        __version__,
    )
    key = key_of([*circumstances, fp32.read_bytes(), int8.read_bytes()])
    known = recall(key)
    if known == "fp32":
        return session(fp32)
    quantized = _if_right(session, int8)
    if quantized is None:
        return session(fp32)
    if known == "int8":
        return quantized
    plain = session(fp32)
    seconds = cpu_seconds([quantized, plain])
    _log.info("a small frame took %.1f ms in int8 and %.1f ms in fp32", *(1000 * s for s in seconds))
    gains = seconds[0] < _WORTH_IT * seconds[1]
    remember(key, "int8" if gains else "fp32")
    return quantized if gains else plain


def cpu_seconds(sessions: Sequence[StyleSession]) -> list[float]:
    """What one frame of :data:`_MEASURED_SIZE` costs each session, in seconds of processor time.

    They take turns and the least of a few runs counts, so that a busy machine does not matter.
    """
    frame = np.random.default_rng(0).integers(0, 256, (*_MEASURED_SIZE, 3), np.uint8)
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(_MEASURED_RUNS):
        for session, measured in zip(sessions, seconds, strict=True):
            start = time.process_time()
            session.stylize(frame)
            measured.append(time.process_time() - start)
    return [min(measured) for measured in seconds]
