"""From a checkpoint to proved style files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from stylize_video.files import replacing
from stylize_video.styles.contract import GoldenPair, Precision, StyleMetadata
from stylize_video.styles.device import PROVIDERS
from stylize_video.styles.receptive_field import find_receptive_field
from stylize_video.styles.style import variant_path
from stylize_video_export.extremes import extreme_pictures
from stylize_video_export.parity import (
    FP32_TOLERANCE,
    Comparison,
    Pixels,
    compare,
    parity_inputs,
    runner,
)
from stylize_video_export.request import ExportError, check_request
from stylize_video_export.to_onnx import DEFAULT_OPSET, ContractNetwork, to_onnx, with_metadata
from stylize_video_export.variants import (
    HALF_LIMIT,
    VARIANT_PSNR,
    WORST_PSNR,
    largest_value,
    measure_speed,
    prepare_int8,
    to_half,
    to_int8,
)
from stylize_video_train.checkpoint import Checkpoint

GOLDEN_SIZE = (24, 64)
"""Height and width of the golden pair: about 10 KB of metadata."""

_HELD_OUT = 3
"""Every so many of the pictures is kept for the comparison, and int8 is not made with it."""

_PHOTOS_PSNR = 42.0
"""What int8 is to reach on photos, in dB, before its ranges are made to hold more of extreme pictures."""

_POWERS = (0.7, 0.5, 0.4, 0.3, 0.2)
"""Ranges from wide to narrow, as in :func:`to_int8`."""

_WORTH_TRYING = 0.5
"""What narrower ranges must gain on photos, in dB, for still narrower ones to be tried."""

_MADE_WITH, _COMPARED_ON = 0, 1
"""Seeds of the extreme pictures that int8 is made with, and of those that variants are compared on."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written.

    ``psnr`` is the mean against fp32 in dB, ``worst_psnr`` that of the worst of the extreme pictures;
    both are None for fp32 itself, and for fp16 that was proved on no GPU. ``milliseconds`` are per device
    for a 640x360 frame, measured in turn with fp32.
    """

    path: Path
    precision: Precision
    psnr: float | None = None
    worst_psnr: float | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    faster_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """What an export wrote, the proof that fp32 is right, and the variants that were refused."""

    files: Sequence[ExportedFile]
    comparisons: Sequence[Comparison]
    refused: Sequence[str]


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    *,
    metadata: StyleMetadata | None = None,
    opset: int = DEFAULT_OPSET,
    precisions: Sequence[Precision] = ("fp32",),
    pictures: Sequence[Pixels] = (),
    devices: Sequence[str] = ("cpu",),
    verify: bool = True,
) -> Export:
    """Write ``checkpoint`` as style files, unless torch and ONNX Runtime disagree.

    Args:
        checkpoint: a trained network.
        output: where the fp32 file goes; variants lie beside it (``photo.int8.onnx``).
        metadata: name, author, licence and thumbnail; recipe, hash and golden pair are added.
        opset: version of the ONNX operators.
        precisions: which files to write. fp32 is always built and proved, as the others
            are made from it and compared with it.
        pictures: real pictures: int8 is calibrated with two thirds, variants are compared on the others. Both
            is done on extreme pictures, which are drawn, too.
        devices: where to prove and to measure: ``cpu``, ``cuda``.
        verify: False skips the proof of fp32 (variants are compared all the same).

    Raises:
        ExportError: the difference to torch is too large (nothing is written), weights or recipe hold
            what is no number, int8 is wanted without pictures, or a file cannot be written or has no name of
            an fp32 file.
    """
    check_request(output, precisions, calibrated=bool(pictures))
    _check_numbers(checkpoint)
    network = ContractNetwork(checkpoint.build())
    graph = to_onnx(network, opset=opset)
    complete = _completed(metadata or StyleMetadata(), checkpoint, graph, output)
    rows = _prove(network, graph, pictures, devices, output) if verify else []
    golden = golden_pair(graph)
    files: list[ExportedFile] = []
    refused: list[str] = []
    if "fp32" in precisions:
        files.append(_write(graph, replace(complete, golden=golden), ExportedFile(output, "fp32")))
    for precision in precisions:
        if precision == "fp32":
            continue
        try:
            if precision == "fp16":
                _check_range(graph, pictures)
                variant = to_half(graph)
            else:
                variant = _to_int8(checkpoint, graph, opset, pictures)
            # On CPUs, ONNX Runtime computes fp16 in fp32: what it is like shows on a GPU alone.
            prover = "cuda" if precision == "fp16" and "cuda" in devices else "cpu"
            quality, worst = _quality(graph, variant, pictures, device=prover)
            golden = golden_pair(variant)
        except ExportError as error:
            refused.append(f"{precision} was not written: {error}")
            continue
        speeds = {
            device: measure_speed({"fp32": graph, precision: variant}, provider=PROVIDERS[device])
            for device in devices
        }
        shows = precision != "fp16" or prover == "cuda"
        file = ExportedFile(
            variant_path(output, precision),
            precision,
            psnr=quality if shows else None,
            worst_psnr=worst if shows else None,
            milliseconds={device: ms[precision] for device, ms in speeds.items()},
            faster_on=tuple(device for device, ms in speeds.items() if ms[precision] < ms["fp32"]),
        )
        files.append(_write(variant, replace(complete, golden=golden), file))
    return Export(files, rows, refused)


def golden_pair(model: onnx.ModelProto) -> GoldenPair:
    """A fixed little picture, half soft waves, half saturated patches, and what ``model`` makes of it.

    Raises:
        ExportError: that has values that are no numbers.
    """
    height, width = GOLDEN_SIZE
    y, x = np.mgrid[0:height, 0 : width // 2].astype(np.float32)
    waves = np.stack([np.sin(x / 5 + c) * np.cos(y / 4 - c) for c in range(3)], axis=-1)
    noise = np.random.default_rng(1).normal(0, 0.1, waves.shape)
    smooth = np.clip((0.5 + 0.4 * waves + noise) * 255, 0, 255).astype(np.uint8)
    patch = np.arange(12).reshape(3, 4).repeat(8, 0).repeat(8, 1)  # largest values: where 8 bits overflow
    saturated = (patch[..., None] >> np.arange(3) & 1).astype(np.uint8) * 255
    frame = np.concatenate([smooth, saturated], axis=1)
    pixels = (frame.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    stylized = runner(model)(pixels)[0].transpose(1, 2, 0)
    if not np.isfinite(stylized).all():
        raise ExportError("the golden pair's picture comes out with values that are no numbers")
    return GoldenPair(frame, np.round(stylized * 255).astype(np.uint8))


def write_model(model: onnx.ModelProto, output: Path) -> None:
    """Write a model so that it appears at ``output`` only when it is whole."""
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}") from error


def _check_numbers(checkpoint: Checkpoint) -> None:
    """Raise ExportError where a weight is no number: ONNX Runtime and torch would only differ by it."""
    for name, weight in checkpoint.weights.items():
        if not weight.isfinite().all():
            raise ExportError(f"{name} has values that are no numbers: the training diverged")


def _to_int8(
    checkpoint: Checkpoint, graph: onnx.ModelProto, opset: int, pictures: Sequence[Pixels]
) -> onnx.ModelProto:
    """int8 of the form that a network has for it, else of ``graph``.

    Ranges hold as much of the extreme pictures' values as photos can afford.

    Raises:
        ExportError: there is no picture left to compare on, or one comes out with what is no number.
    """
    photos = [picture for index, picture in enumerate(pictures) if index % _HELD_OUT]
    if not photos:
        raise ExportError("one photo is not enough: it is compared with fp32 on others than it is made with")
    fitted_to = [*photos, *extreme_pictures(_MADE_WITH).values()]
    network = checkpoint.build().for_bytes()
    source = graph if network is None else to_onnx(ContractNetwork(network), opset=opset)
    prepared = prepare_int8(source, fitted_to, whole=network is not None)
    shown = [("", photo) for photo in photos[:8]]
    best, quality = onnx.ModelProto(), -np.inf
    for power in _POWERS:
        variant = to_int8(prepared, power=power)
        reached = float(np.mean([row.psnr for row in compare(runner(graph), variant, shown)]))
        if not reached > quality + _WORTH_TRYING:
            break
        best, quality = variant, reached
        if quality >= _PHOTOS_PSNR:
            break
    if np.isneginf(quality):
        raise ExportError("pictures come out with values that are no numbers")
    return best


def _prove(
    network: ContractNetwork,
    graph: onnx.ModelProto,
    pictures: Sequence[Pixels],
    devices: Sequence[str],
    output: Path,
) -> list[Comparison]:
    rows = [
        row
        for device in devices
        for row in compare(
            _torch_runner(network), graph, parity_inputs(pictures[:4]), provider=PROVIDERS[device]
        )
    ]
    wrong = [row for row in rows if not row.max_error <= FP32_TOLERANCE]  # a NaN fails too
    if wrong:
        worst = max(wrong, key=lambda row: row.max_error)
        raise ExportError(
            f"ONNX Runtime differs from torch by {worst.max_error:.2g} on {worst.case}"
            f" (allowed: {FP32_TOLERANCE:g}); {output} was not written"
        )
    return rows


def _torch_runner(network: ContractNetwork) -> Callable[[Pixels], Pixels]:
    def run(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            result: Pixels = network(torch.from_numpy(pixels)).numpy()
        return result

    return run


def _check_range(graph: onnx.ModelProto, pictures: Sequence[Pixels]) -> None:
    """Raise ExportError where fp16 could not hold what ``graph`` computes: CPUs would not show it."""
    shown = list(pictures) or [pixels for _, pixels in parity_inputs()]
    largest = largest_value(graph, [*shown, *extreme_pictures(_MADE_WITH).values()])
    if not largest <= HALF_LIMIT:
        raise ExportError(
            f"the network's values reach {largest:.3g}, at most {HALF_LIMIT:.0f} are sure to fit into fp16"
        )


def _quality(
    graph: onnx.ModelProto,
    variant: onnx.ModelProto,
    pictures: Sequence[Pixels],
    *,
    device: str,
) -> tuple[float, float]:
    """PSNR in dB of a variant against fp32: mean on the pictures held out, and worst on extreme ones.

    Raises:
        ExportError: one of them is too low.
    """
    held_out = [(str(i), p) for i, p in enumerate(pictures[::_HELD_OUT])] or parity_inputs()
    extreme = [(name, one[None]) for name, batch in extreme_pictures(_COMPARED_ON).items() for one in batch]
    rows = compare(runner(graph), variant, [*held_out, *extreme], provider=PROVIDERS[device])
    values = np.minimum([row.psnr for row in rows], 99.0)  # equal pictures have infinite PSNR
    if np.isnan(values).any():
        raise ExportError("pictures come out with values that are no numbers")
    quality, worst = (
        float(values[: len(held_out)].mean()),
        rows[len(held_out) + values[len(held_out) :].argmin()],
    )
    if quality < VARIANT_PSNR:
        raise ExportError(f"{quality:.1f} dB against fp32, at least {VARIANT_PSNR:.0f} dB wanted")
    if worst.psnr < WORST_PSNR:
        raise ExportError(
            f"{worst.psnr:.1f} dB against fp32 on {worst.case}, at least {WORST_PSNR:.0f} dB wanted"
        )
    return quality, float(min(worst.psnr, 99.0))


def _completed(
    given: StyleMetadata, checkpoint: Checkpoint, graph: onnx.ModelProto, output: Path
) -> StyleMetadata:
    receptive_field = find_receptive_field(graph)
    recipe = _public(checkpoint.recipe)
    steps = recipe.get("steps")
    if isinstance(steps, int) and checkpoint.step < steps:
        _log.warning(
            "the training was interrupted: this is the style after %d of %d steps", checkpoint.step, steps
        )
        recipe["steps_taken"] = checkpoint.step
    metadata = replace(
        given,
        name=_text(given.name or checkpoint.style.get("name", "") or output.stem),
        author=_text(given.author),
        licence=_text(given.licence),
        recipe=recipe,
        checkpoint_sha256=checkpoint.weights_sha256(),
        receptive_field=(receptive_field.radius, receptive_field.stride) if receptive_field else None,
    )
    try:
        metadata.to_props()
    except (TypeError, ValueError) as error:
        raise ExportError(f"the checkpoint's recipe cannot be written into a style file: {error}") from error
    return metadata


def _text(name: str) -> str:
    """What ONNX can hold of a name: those of files may have bytes that are no UTF-8."""
    return name.encode(errors="replace").decode()


def _public(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` without the folders of the machine it was trained on."""
    return {**recipe, **{key: Path(str(recipe[key])).name for key in ("start", "teacher") if key in recipe}}


def _write(model: onnx.ModelProto, metadata: StyleMetadata, file: ExportedFile) -> ExportedFile:
    own = replace(metadata, precision=file.precision, psnr=file.psnr, faster_on=file.faster_on)
    write_model(with_metadata(model, own), file.path)
    return file
