"""Adapts a style's graph, in memory, to what capture gives.

Video frames are uint8 ``[N, H, W, 3]`` BGR; styles read float32 ``[N, 3, H, W]`` RGB.
The conversion there and back is added to the graph itself: ONNX Runtime does it
several times faster than numpy, and on a GPU only a quarter of the bytes cross the bus.
Only operators that every opset since 7 defines alike are used, so that old files
need no conversion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_PREFIX = "stylize_video_adapter_"
FRAMES = _PREFIX + "frames"
STYLIZED = _PREFIX + "stylized"


def adapt_to_frames(model: onnx.ModelProto, *, pixel_range: int = 1) -> onnx.ModelProto:
    """Return a copy of ``model`` that maps uint8 BGR frames to uint8 BGR frames.

    Args:
        model: one float input and one float output, ``[N, 3, H, W]`` RGB.
        pixel_range: what white is in the model: 1 or 255.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    # Before version 4 an initializer had to be an input too; later readers accept both.
    adapted.ir_version = max(adapted.ir_version, 4)
    graph = adapted.graph
    initialized = {i.name for i in graph.initializer}
    old_input = next(i for i in graph.input if i.name not in initialized)
    old_output = graph.output[0]
    opset = max((o.version for o in adapted.opset_import if o.domain in ("", "ai.onnx")), default=1)

    constants: dict[str, np.ndarray] = {
        "bgr": np.array([2, 1, 0], np.int64),
        "scale": np.array(pixel_range / 255, np.float32),
        "unscale": np.array(255 / pixel_range, np.float32),
        "half": np.array(0.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(v, _PREFIX + k) for k, v in constants.items())

    def chain(
        first: str, steps: list[tuple[str, list[str], dict[str, Any]]], last: str
    ) -> list[onnx.NodeProto]:
        """Nodes in a row, each fed by the one before it and by constants."""
        nodes, value = [], first
        for index, (operator, operands, attributes) in enumerate(steps):
            result = last if index == len(steps) - 1 else f"{_PREFIX}{operator}_{index}_{last}"
            nodes.append(
                helper.make_node(
                    operator, [value, *(_PREFIX + o for o in operands)], [result], result, **attributes
                )
            )
            value = result
        return nodes

    # Reordering is done on bytes, where it moves a quarter of what floats would.
    before = chain(
        FRAMES,
        [
            ("Transpose", [], {"perm": [0, 3, 1, 2]}),
            ("Gather", ["bgr"], {"axis": 1}),
            ("Cast", [], {"to": TensorProto.FLOAT}),
            ("Mul", ["scale"], {}),
        ],
        old_input.name,
    )
    clip: tuple[str, list[str], dict[str, Any]] = ("Clip", ["low", "high"], {})
    if opset < 11:
        clip = ("Clip", [], {"min": 0.0, "max": 255.0})
    after = chain(
        old_output.name,
        [
            ("Mul", ["unscale"], {}),
            ("Add", ["half"], {}),  # the cast truncates: adding a half rounds
            clip,
            ("Cast", [], {"to": TensorProto.UINT8}),
            ("Gather", ["bgr"], {"axis": 1}),
            ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ],
        STYLIZED,
    )
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    batch, _, height, width = (_dimension(d) for d in old_input.type.tensor_type.shape.dim)
    graph.input.remove(old_input)
    shape = [batch, height, width, 3]
    graph.input.insert(0, helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, shape))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(STYLIZED, TensorProto.UINT8, shape))
    return adapted


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value
    return dim.dim_param or None
