"""Turns a trained network into a style file that keeps the contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from stylize_video.styles.contract import INPUT_NAME, MIN_SIDE, OUTPUT_NAME, StyleMetadata
from stylize_video.styles.golden import initializers_sha256
from stylize_video_export.quiet import quiet_tools
from stylize_video_train.networks import StyleNetwork

DEFAULT_OPSET = 18
"""Read by current FFmpeg, OpenCV, ONNX Runtime Web and DirectML alike."""

LOWEST_OPSET, HIGHEST_OPSET = 18, 21

_LARGEST_SIDE = 2**15
_PRODUCER = "stylize-video"
# The intermediate representation that came with opset 18 and 21: older readers refuse newer ones.
_IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10}


class ContractNetwork(nn.Module):
    """A folded network whose output is clamped to 0..1, as the contract promises."""

    def __init__(self, network: StyleNetwork) -> None:
        super().__init__()
        self.network = network.folded()
        self.requires_grad_(False)
        self.eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Map RGB ``[N, 3, H, W]`` in 0..1 to the same shape and range."""
        return torch.clamp(self.network(frames), 0, 1)


def to_onnx(network: ContractNetwork, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """Export ``network`` for any batch, height and width; the same weights give the same bytes."""
    # Sizes of the example must differ from each other and from 1, or they are taken for fixed.
    example = torch.zeros(2, 3, 37, 50)
    dims = {
        0: torch.export.Dim("N", min=1, max=2**12),
        2: torch.export.Dim("H", min=MIN_SIDE, max=_LARGEST_SIDE),
        3: torch.export.Dim("W", min=MIN_SIDE, max=_LARGEST_SIDE),
    }
    with quiet_tools("torch.onnx"):
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"frames": dims},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    return _tidied(program.model_proto, opset)


def with_metadata(model: onnx.ModelProto, metadata: StyleMetadata) -> onnx.ModelProto:
    """A copy of ``model`` that carries ``metadata``, and the hash of its own weights."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.metadata_props[:]
    own = replace(metadata, initializers_sha256=initializers_sha256(model))
    onnx.helper.set_model_props(result, own.to_props())
    return result


def _tidied(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Without the exporter's notes (source paths, stack traces): small, private, deterministic."""
    model.producer_name, model.producer_version = _PRODUCER, ""
    model.ir_version = _IR_VERSIONS[opset]
    model.doc_string = ""
    model.graph.name = "style"
    del model.metadata_props[:]
    del model.functions[:]
    graph = model.graph
    del graph.metadata_props[:]
    del graph.value_info[:]
    items: list[Any] = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    for item in items:
        item.doc_string = ""
        del item.metadata_props[:]
    for index, name in enumerate(("N", "3", "H", "W")):
        if name != "3":
            for value in (graph.input[0], graph.output[0]):
                value.type.tensor_type.shape.dim[index].dim_param = name
    onnx.checker.check_model(model, full_check=True)
    return model
