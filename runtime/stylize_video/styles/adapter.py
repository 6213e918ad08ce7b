"""Adapts a style's graph, in memory, to what capture gives.

Video frames are uint8 ``[N, H, W, 3]`` BGR; styles read float32 ``[N, 3, H, W]`` RGB.
The conversion there and back is added to the graph itself: ONNX Runtime does it
several times faster than numpy, and on a GPU only a quarter of the bytes cross the bus.
Only operators that every opset since 7 defines alike are used, so that old files
need no conversion. A style that makes bytes of its input itself gets RGB bytes instead.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_PREFIX = "stylize_video_adapter_"
FRAMES = _PREFIX + "frames"
STYLIZED = _PREFIX + "stylized"

_REARRANGING = frozenset({"Clip", "DepthToSpace", "Slice"})


def adapt_to_bgr(
    model: onnx.ModelProto,
    *,
    pixel_range: int = 1,
    round_early: bool = False,
    size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Return a copy of ``model`` that maps uint8 BGR frames to uint8 BGR frames.

    Args:
        model: one float input and one float output, ``[N, 3, H, W]`` RGB.
        pixel_range: what white is in the model: 1 or 255.
        round_early: round to bytes before the nodes at the graph's end that only move
            pixels (pixel shuffles, crops), which then move a quarter as much. The
            result is the same; CUDA has no such nodes for bytes.
        size: (height, width) of the only frames that it will be given, one at a time; what
            depends on the size is then computed once, before the first frame.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    # Before version 4 an initializer had to be an input too; later readers accept both.
    adapted.ir_version = max(adapted.ir_version, 4)
    graph = adapted.graph
    source = _picture_input(graph)
    opset = max((o.version for o in adapted.opset_import if o.domain in ("", "ai.onnx")), default=1)
    graph.initializer.extend(_border_constants(pixel_range))
    # Pixel shuffles of bytes came with opset 13.
    tail = _rearranging_tail(graph) if round_early and opset >= 13 else []
    kept = [node for node in graph.node if not any(node is late for late in tail)]
    nodes = [*_input_nodes(source.name), *kept, *_output_nodes(graph.output[0].name, tail, opset)]
    batch, _, height, width = _shape_of(source)
    shape: _Shape = [1, *size, 3] if size else [batch, height, width, 3]
    _replace(graph, nodes, source, frames=shape, stylized=shape)
    return adapted


def adapt_to_rgb(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of ``model`` that maps uint8 RGB to uint8 RGB, None where it would not be all bytes.

    A style may begin by rounding its input to 256 levels and end by making numbers of as many:
    int8 styles of this project do. Both are left out here, as frames are such bytes already.

    The result maps ``[N, H, W, 3]`` to ``[N, H, W, 3]``, or to ``[N, H, W, 4]`` where the fourth
    channel is there only because four bytes are moved faster than three, and means nothing.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    graph = adapted.graph
    source = _picture_input(graph)
    constants = dict(_small_constants(graph))
    readers = [node for node in graph.node if source.name in node.input]
    rounding = [node for node in readers if _is_of_bytes(node, "QuantizeLinear", constants)]
    makers = {output: node for node in graph.node for output in node.output}
    last = makers.get(graph.output[0].name)
    if last is None:  # what comes out is what came in
        return None
    clamp = None
    if last.op_type == "Clip" and [constants.get(name) for name in last.input[1:]] == [0, 1]:
        clamp, last = last, makers.get(last.input[0], last)  # bytes are within it anyway
    if (
        len(rounding) != 1
        or any(node.op_type != "Shape" for node in readers if node is not rounding[0])
        or not _is_of_bytes(last, "DequantizeLinear", constants)
    ):
        return None
    nodes = [node for node in graph.node if not any(node is n for n in (rounding[0], last, clamp))]
    bytes_in = rounding[0].output[0]
    for node in readers:
        if node.op_type == "Shape":
            node.input[0] = bytes_in
    nodes.insert(0, helper.make_node("Transpose", [FRAMES], [bytes_in], FRAMES, perm=[0, 3, 1, 2]))
    cut = makers.get(last.input[0])
    turned = makers.get(cut.input[0]) if cut is not None else None
    read = Counter(name for node in graph.node for name in node.input)
    if (
        cut is not None
        and turned is not None
        and read[cut.output[0]] == read[turned.output[0]] == 1  # nothing else needs them
        and _takes_three_channels(cut, turned, constants)
    ):
        nodes = [node for node in nodes if node is not cut and node is not turned]
        nodes.append(helper.make_node("Identity", [turned.input[0]], [STYLIZED], STYLIZED))
    else:
        nodes.append(helper.make_node("Transpose", [last.input[0]], [STYLIZED], STYLIZED, perm=[0, 2, 3, 1]))
    batch, _, height, width = _shape_of(source)
    frames, stylized = ([batch, height, width, channels] for channels in (3, None))
    _replace(graph, nodes, source, frames=frames, stylized=stylized)
    return adapted


_Operator = tuple[str, list[str], dict[str, Any]]
"""An operator's kind, the constants that it reads, by name, and its attributes."""


def _border_constants(pixel_range: int) -> list[onnx.TensorProto]:
    """What :func:`_input_nodes` and :func:`_output_nodes` read."""
    values: dict[str, np.ndarray] = {
        "bgr": np.array([2, 1, 0], np.int64),
        "scale": np.array(pixel_range / 255, np.float32),
        "unscale": np.array(255 / pixel_range, np.float32),
        "half": np.array(0.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
    }
    return [numpy_helper.from_array(value, _PREFIX + name) for name, value in values.items()]


def _input_nodes(value: str) -> list[onnx.NodeProto]:
    """From the frames to ``value``: reordered as bytes, which moves a quarter of what floats would."""
    operators: list[_Operator] = [
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        ("Gather", ["bgr"], {"axis": 1}),
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Mul", ["scale"], {}),
    ]
    return _chain(FRAMES, operators, value)


def _output_nodes(value: str, tail: Sequence[onnx.NodeProto], opset: int) -> list[onnx.NodeProto]:
    """From ``value``, which ``tail`` makes, to the stylized frames; pixels are moved after the rounding."""
    clip: _Operator = ("Clip", ["low", "high"], {})
    if opset < 11:
        clip = ("Clip", [], {"min": 0.0, "max": 255.0})
    rounding: list[_Operator] = [
        ("Mul", ["unscale"], {}),
        ("Add", ["half"], {}),  # the cast truncates: adding a half rounds
        clip,
        ("Cast", [], {"to": TensorProto.UINT8}),
    ]
    reordering: list[_Operator] = [
        ("Gather", ["bgr"], {"axis": 1}),
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ]
    rounded = f"{_PREFIX}rounded"
    clamps = [node for node in tail if node.op_type == "Clip"]
    moves = [node for node in tail if node.op_type != "Clip"]
    clamped = _relink(clamps, tail[0].input[0] if tail else value)
    moved = _relink(moves, rounded)
    return [
        *clamps,
        *_chain(clamped, rounding, rounded),
        *moves,
        *_chain(moved, reordering, STYLIZED),
    ]


def _chain(first: str, operators: Sequence[_Operator], last: str) -> list[onnx.NodeProto]:
    """Nodes in a row from the value ``first`` to the value ``last``, each fed by the one before it."""
    nodes, value = [], first
    for index, (kind, constants, attributes) in enumerate(operators):
        result = last if index == len(operators) - 1 else f"{_PREFIX}{kind}_{index}_{last}"
        operands = [value, *(_PREFIX + name for name in constants)]
        nodes.append(helper.make_node(kind, operands, [result], result, **attributes))
        value = result
    return nodes


def _picture_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The one input that is no weight."""
    initialized = {tensor.name for tensor in graph.initializer}
    return next(value for value in graph.input if value.name not in initialized)


_Shape = list[int | str | None]


def _replace(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    source: onnx.ValueInfoProto,
    *,
    frames: _Shape,
    stylized: _Shape,
) -> None:
    """Give ``graph`` these nodes, and frames of bytes as output and instead of the input ``source``."""
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.remove(source)
    graph.input.insert(0, helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, frames))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(STYLIZED, TensorProto.UINT8, stylized))


def _small_constants(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    """The initializers with one number: all that is asked for here."""
    for tensor in graph.initializer:
        if list(tensor.dims) in ([], [1]):
            # What is damaged is told by ONNX Runtime, in words of its own.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                yield tensor.name, numpy_helper.to_array(tensor)


def _is_of_bytes(node: onnx.NodeProto, kind: str, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether ``node`` turns 0..1 into 0..255 as uint8, or back."""
    if node.op_type != kind or len(node.input) < 3:
        return False
    scale, zero = (constants.get(name) for name in node.input[1:3])
    return (
        scale is not None
        and zero is not None
        and zero.dtype == np.uint8
        and scale.size == zero.size == 1
        and bool(np.isclose(scale * 255, 1, atol=1e-6).all())
        and not zero.any()
    )


def _takes_three_channels(
    cut: onnx.NodeProto, turned: onnx.NodeProto, constants: Mapping[str, np.ndarray]
) -> bool:
    """Whether ``cut`` keeps the first three of the channels that ``turned`` brought to the front."""
    if cut.op_type != "Slice" or turned.op_type != "Transpose" or len(cut.input) < 4:
        return False
    perm = onnx.helper.get_attribute_value(turned.attribute[0]) if turned.attribute else []
    starts, ends, axes = (constants.get(name) for name in cut.input[1:4])
    wanted = ((starts, 0), (ends, 3), (axes, 1))
    return list(perm) == [0, 3, 1, 2] and all(
        value is not None and value.tolist() == [number] for value, number in wanted
    )


def _rearranging_tail(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The last nodes of a graph, as far as they only move pixels or clamp each: their order is free."""
    makers = {output: node for node in graph.node for output in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    tail: list[onnx.NodeProto] = []
    name, allowed = graph.output[0].name, 0
    while (node := makers.get(name)) is not None and node.op_type in _REARRANGING:
        if readers[name] > allowed:  # something else needs it as it is
            break
        tail.insert(0, node)
        name, allowed = node.input[0], 1
    return tail


def _relink(nodes: Sequence[onnx.NodeProto], value: str) -> str:
    """Feed ``nodes`` in a row from ``value`` on; the name of what comes out."""
    for node in nodes:
        node.input[0] = value
        value = node.output[0]
    return value


def _shape_of(value: onnx.ValueInfoProto) -> _Shape:
    return [_dimension(dim) for dim in value.type.tensor_type.shape.dim]


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value
    return dim.dim_param or None
