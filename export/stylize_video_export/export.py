"""From a checkpoint to proved style files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from stylize_video.contract import GoldenPair, Precision, StyleMetadata
from stylize_video.errors import StylizeError
from stylize_video.files import replacing
from stylize_video.neighbourhood import find_neighbourhood
from stylize_video.session import cuda_problem
from stylize_video.style import variant_path
from stylize_video_export.parity import FP32_TOLERANCE, Comparison, Pixels, compare, parity_inputs, runner
from stylize_video_export.to_onnx import DEFAULT_OPSET, ContractNetwork, to_onnx, with_metadata
from stylize_video_export.variants import VARIANT_PSNR, measure_speed, to_half, to_int8
from stylize_video_train.checkpoint import Checkpoint

GOLDEN_SIZE = (24, 32)
"""Height and width of the golden pair: about 3 KB of metadata."""

_PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class ExportError(StylizeError):
    """An export failed or could not be proved; the file it was about was not written."""


@dataclass(frozen=True)
class ExportedFile:
    """One file that was written.

    ``psnr`` is the mean against fp32 in dB, None for fp32 itself; ``milliseconds`` are
    per device for a 640x360 frame, measured in turn with fp32.
    """

    path: Path
    precision: Precision
    psnr: float | None = None
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
    tolerance: float = FP32_TOLERANCE,
) -> Export:
    """Write ``checkpoint`` as style files, unless torch and ONNX Runtime disagree.

    Args:
        checkpoint: a trained network.
        output: where the fp32 file goes; variants lie beside it (``photo.int8.onnx``).
        metadata: name, author, licence and thumbnail; recipe, hash and golden pair are added.
        opset: version of the ONNX operators.
        precisions: which files to write. fp32 is always built and proved, as the others
            are made from it and compared with it.
        pictures: real pictures, to calibrate int8 with and to compare on.
        devices: where to prove and to measure: ``cpu``, ``cuda``.
        verify: False skips the proof of fp32 (variants are compared all the same).
        tolerance: largest difference to torch allowed on 0..1.

    Raises:
        ExportError: the difference to torch is too large (nothing is written), int8 is
            wanted without pictures, or a file cannot be written.
    """
    if "int8" in precisions and not pictures:
        raise ExportError(
            "int8 is calibrated on real pictures: pass --calibrate with a folder of some two dozen photos"
        )
    network = ContractNetwork(checkpoint.build())
    graph = to_onnx(network, opset=opset)
    rows = _prove(network, graph, pictures, devices, tolerance, output) if verify else []
    complete = _completed(metadata or StyleMetadata(), checkpoint, graph, output)

    files: list[ExportedFile] = []
    refused: list[str] = []
    if "fp32" in precisions:
        files.append(_write(graph, complete, ExportedFile(output, "fp32")))
    for precision in precisions:
        if precision == "fp32":
            continue
        variant = to_half(graph) if precision == "fp16" else _to_int8(checkpoint, graph, opset, pictures)
        quality = _mean_psnr(graph, variant, pictures)
        if quality < VARIANT_PSNR:
            refused.append(
                f"{precision} was not written: {quality:.1f} dB against fp32, at least"
                f" {VARIANT_PSNR:.0f} dB wanted"
            )
            continue
        speeds = {
            device: measure_speed({"fp32": graph, precision: variant}, provider=_PROVIDERS[device])
            for device in devices
        }
        file = ExportedFile(
            variant_path(output, precision),
            precision,
            quality,
            {device: ms[precision] for device, ms in speeds.items()},
            tuple(device for device, ms in speeds.items() if ms[precision] < ms["fp32"]),
        )
        files.append(_write(variant, complete, file))
    return Export(files, rows, refused)


def proof_devices(device: str) -> tuple[str, ...]:
    """The devices that ``--device`` means: ``auto`` is every one that works.

    Raises:
        ExportError: the device is unknown, or CUDA cannot be used.
    """
    problem = cuda_problem() if device in ("auto", "cuda") else None
    if device == "auto":
        return ("cpu",) if problem else ("cpu", "cuda")
    if device not in _PROVIDERS:
        raise ExportError(f"unknown device {device!r}; there are auto, cpu and cuda")
    if problem:
        raise ExportError(f"--device cuda cannot be used: {problem}")
    return (device,)


def golden_pair(model: onnx.ModelProto) -> GoldenPair:
    """A fixed little picture, smooth with some noise, and what ``model`` makes of it."""
    height, width = GOLDEN_SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = np.stack([np.sin(x / 5 + c) * np.cos(y / 4 - c) for c in range(3)], axis=-1)
    noise = np.random.default_rng(1).normal(0, 0.1, waves.shape)
    frame = np.clip((0.5 + 0.4 * waves + noise) * 255, 0, 255).astype(np.uint8)
    pixels = (frame.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    stylized = np.round(runner(model)(pixels)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    return GoldenPair(frame, stylized)


def write_model(model: onnx.ModelProto, output: Path) -> None:
    """Write a model so that it appears at ``output`` only when it is whole."""
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}") from error


def _to_int8(
    checkpoint: Checkpoint, graph: onnx.ModelProto, opset: int, pictures: Sequence[Pixels]
) -> onnx.ModelProto:
    """int8 of the form that a network has for it, else of ``graph``."""
    network = checkpoint.build().for_bytes()
    if network is None:
        return to_int8(graph, pictures)
    return to_int8(to_onnx(ContractNetwork(network), opset=opset), pictures, whole=True)


def _prove(
    network: ContractNetwork,
    graph: onnx.ModelProto,
    pictures: Sequence[Pixels],
    devices: Sequence[str],
    tolerance: float,
    output: Path,
) -> list[Comparison]:
    rows = [
        row
        for device in devices
        for row in compare(
            _torch_runner(network), graph, parity_inputs(pictures[:4]), provider=_PROVIDERS[device]
        )
    ]
    worst = max(rows, key=lambda row: row.max_error)
    if not worst.max_error <= tolerance:  # a NaN fails too
        raise ExportError(
            f"ONNX Runtime differs from torch by {worst.max_error:.2g} on {worst.case}"
            f" (allowed: {tolerance:g}); {output} was not written"
        )
    return rows


def _torch_runner(network: ContractNetwork) -> Callable[[Pixels], Pixels]:
    def run(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            result: Pixels = network(torch.from_numpy(pixels)).numpy()
        return result

    return run


def _mean_psnr(graph: onnx.ModelProto, variant: onnx.ModelProto, pictures: Sequence[Pixels]) -> float:
    inputs = [(str(i), p) for i, p in enumerate(pictures)] or parity_inputs()
    values = [row.psnr for row in compare(runner(graph), variant, inputs)]
    return float(np.mean(np.minimum(values, 99.0)))  # equal pictures have infinite PSNR


def _completed(
    given: StyleMetadata, checkpoint: Checkpoint, graph: onnx.ModelProto, output: Path
) -> StyleMetadata:
    neighbourhood = find_neighbourhood(graph)
    return replace(
        given,
        name=given.name or checkpoint.style.get("name", "") or output.stem,
        recipe=_public(checkpoint.recipe),
        checkpoint_sha256=checkpoint.weights_sha256(),
        neighbourhood=(neighbourhood.radius, neighbourhood.step) if neighbourhood else None,
    )


def _public(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` without the folders of the machine it was trained on."""
    return {**recipe, **{key: Path(recipe[key]).name for key in ("start", "teacher") if key in recipe}}


def _write(model: onnx.ModelProto, metadata: StyleMetadata, file: ExportedFile) -> ExportedFile:
    own = replace(
        metadata,
        precision=file.precision,
        psnr=file.psnr,
        faster_on=file.faster_on,
        golden=golden_pair(model),
    )
    write_model(with_metadata(model, own), file.path)
    return file
