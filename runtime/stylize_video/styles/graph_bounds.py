"""What in a foreign graph would take time or memory without bound, found before it runs.

The limits are far beyond what styles are in practice. What a graph computes only while
it runs (a shape out of pixels, say) cannot be bounded by looking at it; for that
there is :func:`stylize_video.bounds.limit_memory`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import onnx
from onnx import shape_inference

from stylize_video.bounds import MAX_FIXED_PIXELS, TRIAL_SIZE

_MAX_GROWTH = 512
"""Numbers in one tensor inside a graph, for each of its input; wide networks have some 50."""

_MAX_SETTING = 2**12
"""Of pads, strides, kernels and the like, in pixels."""

_MAX_NODES = 100_000
"""With each function's nodes counted wherever it is called; large networks have some thousand."""

_PIXEL_SETTINGS = frozenset(
    {"pads", "strides", "dilations", "kernel_shape", "output_padding", "output_shape"}
)

_COUNTS = frozenset({"blocksize", "group"})

_LOOPS = frozenset(
    {"Loop", "Scan", "SequenceMap", "LSTM", "GRU", "RNN"}  # no end that could be seen from outside
)


def find_excess(model: onnx.ModelProto, fixed_size: tuple[int, int] | None) -> str | None:
    """What in a graph no style needs and would take time or memory without bound; None if nothing.

    Args:
        model: a valid model with one input ``[N, 3, H, W]``.
        fixed_size: the height and width it insists on, None where any will do.
    """
    height, width = fixed_size or TRIAL_SIZE
    if height * width > MAX_FIXED_PIXELS:
        return f"it insists on pictures of {width}x{height}"
    for node in _nodes(model):
        if node.op_type in _LOOPS:
            return f"it has a {node.op_type} in it"
        for attribute in node.attribute:
            if attribute.name in _PIXEL_SETTINGS and any(abs(n) > _MAX_SETTING for n in attribute.ints):
                return f"the {attribute.name} of a {node.op_type} are {list(attribute.ints)}"
            if attribute.name in _COUNTS and not 0 < attribute.i <= _MAX_SETTING:
                return f"the {attribute.name} of a {node.op_type} is {attribute.i}"
    if _expanded(model) > _MAX_NODES:
        return f"its functions call each other for more than {_MAX_NODES:,} nodes"
    limit = _MAX_GROWTH * 3 * height * width
    for name, shape in _known_shapes(model, height, width):
        numbers = 1
        for side in shape:
            numbers *= side
        if numbers > limit:
            return f"{name!r} in it has {numbers:,} numbers for a picture of {width}x{height}"
    return None


def _known_shapes(model: onnx.ModelProto, height: int, width: int) -> Iterator[tuple[str, list[int]]]:
    """The shapes that are known before the graph runs on one picture of this size."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]  # what the file says of itself is no proof
    initialized = {tensor.name for tensor in graph.initializer}
    frames = next(value for value in graph.input if value.name not in initialized)
    for dim, side in zip(frames.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        dim.dim_value = side
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    with contextlib.suppress(Exception):  # a graph that cannot be understood is left to ONNX Runtime
        graph = shape_inference.infer_shapes(copy, data_prop=True).graph
    for value in (*graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and all(dim.HasField("dim_value") for dim in dims):
            yield value.name, [dim.dim_value for dim in dims]


def _expanded(model: onnx.ModelProto) -> int:
    """How many nodes a graph has without functions: ONNX Runtime puts their nodes in place of each call."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in _with_subgraphs(nodes):
            name = node.domain, node.op_type
            if name not in functions:
                total += 1
                continue
            if name not in sizes:
                sizes[name] = _MAX_NODES + 1  # where it calls itself, there is no end to it
                sizes[name] = size(functions[name].node)
            total += sizes[name]
        return total

    try:
        return size(model.graph.node)
    except RecursionError:  # functions that are nested too deeply
        return _MAX_NODES + 1


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _with_subgraphs(model.graph.node)
    for function in model.functions:
        yield from _with_subgraphs(function.node)


def _with_subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_subgraphs(graph.node)
