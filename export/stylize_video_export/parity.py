"""Proof that an exported file computes what the network computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from stylize_video.errors import DeviceError
from stylize_video.frame import psnr
from stylize_video.styles.device import PROVIDERS

Pixels = NDArray[np.float32]
"""RGB ``[N, 3, H, W]`` in 0..1."""

SHAPES: Sequence[tuple[int, int, int]] = (
    (1, 16, 16),
    (1, 97, 131),
    (1, 240, 135),
    (3, 64, 50),
    (1, 101, 16),
    (1, 17, 4096),
    (1, 128, 128),
    (2, 33, 66),
)
"""Batch, height and width: the smallest, primes, portrait, batches, a strip, multiples of 4 and not."""

FP32_TOLERANCE = 1e-3
"""Largest difference on 0..1 that an fp32 export may show."""


@dataclass(frozen=True)
class Comparison:
    """Differences on 0..1 between a reference and a model on one input."""

    case: str
    provider: str
    max_error: float
    mean_error: float
    psnr: float


def parity_inputs(pictures: Iterable[Pixels] = ()) -> list[tuple[str, Pixels]]:
    """Noise at every one of :data:`SHAPES`, smooth gradients, and the pictures given."""
    rng = np.random.default_rng(0)
    inputs: list[tuple[str, Pixels]] = []
    for batch, height, width in SHAPES:
        noise = rng.random((batch, 3, height, width), np.float32)
        inputs.append((f"noise {batch}x{width}x{height}", noise))
    ramp = np.linspace(0, 1, 161, dtype=np.float32)
    gradient = np.stack([np.broadcast_to(ramp, (90, 161)), *([np.outer(ramp[:90], ramp)] * 2)])[None]
    inputs.append(("gradient 1x161x90", gradient.astype(np.float32)))
    inputs += [(f"picture 1x{p.shape[3]}x{p.shape[2]}", p) for p in pictures]
    return inputs


def compare(
    reference: Callable[[Pixels], Pixels],
    model: onnx.ModelProto,
    inputs: Iterable[tuple[str, Pixels]],
    *,
    provider: str = PROVIDERS["cpu"],
) -> list[Comparison]:
    """Run both on every input; a wrong output shape counts as an infinite error."""
    run = runner(model, provider=provider)
    rows = []
    for case, pixels in inputs:
        expected, got = reference(pixels), run(pixels)
        if expected.shape != got.shape:
            rows.append(Comparison(f"{case} gave {got.shape}", provider, np.inf, np.inf, 0.0))
            continue
        difference = np.abs(expected - got)
        quality = psnr(expected, got, white=1)
        rows.append(Comparison(case, provider, float(difference.max()), float(difference.mean()), quality))
    return rows


def session_options() -> ort.SessionOptions:
    """Those of sessions that numpy works between the runs of."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # Threads that wait busily take the cores from what numpy computes between the pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def runner(model: onnx.ModelProto, *, provider: str = PROVIDERS["cpu"]) -> Callable[[Pixels], Pixels]:
    """A model of one input and one output as a function of pixels, on one provider.

    Raises:
        DeviceError: ONNX Runtime took another provider instead: nothing would be proved of this one.
    """
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=[provider])
    if provider not in session.get_providers():
        raise DeviceError(f"ONNX Runtime cannot use {provider} here: it took {session.get_providers()[0]}")
    (source,), (output,) = session.get_inputs(), session.get_outputs()

    def run(pixels: Pixels) -> Pixels:
        result: Pixels = session.run([output.name], {source.name: pixels})[0]
        return result

    return run
