"""From a checkpoint to a proved style file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from stylize_video.contract import GoldenPair, StyleMetadata
from stylize_video.errors import StylizeError
from stylize_video.files import replacing
from stylize_video_export.parity import FP32_TOLERANCE, Comparison, Pixels, compare, parity_inputs, runner
from stylize_video_export.to_onnx import DEFAULT_OPSET, ContractNetwork, to_onnx, with_metadata
from stylize_video_train.checkpoint import Checkpoint

GOLDEN_SIZE = (24, 32)
"""Height and width of the golden pair: about 3 KB of metadata."""


class ExportError(StylizeError):
    """An export failed or could not be proved; no file was left."""


@dataclass(frozen=True)
class Export:
    """A style file that was written and the proof that it is right."""

    path: Path
    comparisons: Sequence[Comparison]


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    *,
    metadata: StyleMetadata | None = None,
    opset: int = DEFAULT_OPSET,
    pictures: Sequence[Pixels] = (),
    tolerance: float = FP32_TOLERANCE,
) -> Export:
    """Write ``checkpoint`` as a style file, unless torch and ONNX Runtime disagree.

    Args:
        checkpoint: a trained network.
        output: where the file goes; it appears only after the proof.
        metadata: name, author, licence and thumbnail; recipe, hash and golden pair are added.
        opset: version of the ONNX operators.
        pictures: real pictures to compare on, besides noise and gradients.
        tolerance: largest difference allowed on 0..1.

    Raises:
        ExportError: the difference is too large, or the file cannot be written.
    """
    network = ContractNetwork(checkpoint.build())
    graph = to_onnx(network, opset=opset)

    def reference(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            result: Pixels = network(torch.from_numpy(pixels)).numpy()
        return result

    rows = compare(reference, graph, parity_inputs(pictures))
    worst = max(rows, key=lambda row: row.max_error)
    if not worst.max_error <= tolerance:
        raise ExportError(
            f"ONNX Runtime differs from torch by {worst.max_error:.2g} on {worst.case}"
            f" (allowed: {tolerance:g}); {output} was not written"
        )
    given = metadata or StyleMetadata()
    complete = StyleMetadata(
        name=given.name or checkpoint.style.get("name", "") or output.stem,
        author=given.author,
        licence=given.licence,
        thumbnail=given.thumbnail,
        recipe=checkpoint.recipe,
        checkpoint_sha256=checkpoint.weights_sha256(),
        golden=golden_pair(graph),
    )
    write_model(with_metadata(graph, complete), output)
    return Export(output, rows)


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
    """Write a model under a temporary name and move it to its place when it is whole."""
    content = model.SerializeToString(deterministic=True)
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}") from error
