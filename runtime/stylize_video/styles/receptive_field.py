"""The receptive field of a network: how far around a pixel it looks, found from its graph.

Convolutions look a bounded way; instance normalisation looks at the whole picture. Where the field
is bounded, a picture may be stylized in tiles that overlap by that much, and comes out as
if it had been done in one piece.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_PIXELWISE = frozenset(
    (
        "Abs",
        "Add",
        "BatchNormalization",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "PRelu",
        "Pow",
        "QuantizeLinear",
        "Relu",
        "Selu",
        "Sigmoid",
        "Sqrt",
        "Sub",
        "Sum",
        "Tanh",
    )
)
_HEIGHT, _WIDTH = 2, 3
_SHAPE_ONLY = frozenset({"Constant", "ConstantOfShape", "Range", "Shape", "Size"})
_SIZED = frozenset({"Pad", "Resize", "Slice"})
"""Operators that may read sizes: what they do at the top and the left is looked at."""


@dataclass(frozen=True)
class ReceptiveField:
    """What a pixel of the result depends on.

    Attributes:
        radius: pixels further away than this, in either direction, do not matter.
        stride: of all strided layers together: moving the input by a multiple of this moves the
            result by as much; moving it by less may change the result, as the network's grid
            stays where it is.
    """

    radius: int
    stride: int

    @property
    def margin(self) -> int:
        """The least overlap on each side of a tile: ``radius`` as a multiple of ``stride``."""
        return -(-self.radius // self.stride) * self.stride


@dataclass(frozen=True)
class _Reach:
    """Pixel ``i`` of a value depends on input pixels ``jump * i + low`` to ``jump * i + high``."""

    jump: Fraction
    low: Fraction
    high: Fraction

    def window(self, *, stride: int, first: int, last: int) -> _Reach:
        """After an operator whose pixel ``i`` reads pixels ``stride * i + first`` to ``... + last``."""
        return _Reach(self.jump * stride, self.low + self.jump * first, self.high + self.jump * last)

    def enlarged(self, scale: int, *, around: int) -> _Reach:
        """After enlarging ``scale`` times, with ``around`` pixels on each side interpolated from."""
        jump = self.jump / scale
        lowest = self.low - jump * (scale - 1) - self.jump * around
        return _Reach(jump, lowest, self.high + self.jump * around)

    def moved(self, pixels: int) -> _Reach:
        """After a crop of so many pixels at the top or the left, or padding by minus as many."""
        shift = self.jump * pixels
        return _Reach(self.jump, self.low + shift, self.high + shift)

    def merged(self, other: _Reach) -> _Reach:
        if self.jump != other.jump:
            raise _UnboundedError
        return _Reach(self.jump, min(self.low, other.low), max(self.high, other.high))


_STAYING = (b"half_pixel", b"pytorch_half_pixel", b"asymmetric")
"""How ``Resize`` may place its pixels."""


class _UnboundedError(Exception):  # never leaves this module
    """A node looks at the whole picture, or in a way that is not known here."""


def find_receptive_field(model: onnx.ModelProto) -> ReceptiveField | None:
    """The receptive field of a style, None where it is not bounded or cannot be told."""
    try:
        down, across = (_Walk(model.graph, axis).to_the_end() for axis in (_HEIGHT, _WIDTH))
    except (_UnboundedError, LookupError):  # a value that is computed in a way not known here
        return None
    return ReceptiveField(max(down.radius, across.radius), math.lcm(down.stride, across.stride))


class _Walk:
    """From a graph's input to its output, along one axis of the picture."""

    def __init__(self, graph: onnx.GraphProto, axis: int) -> None:
        self._graph = graph
        self._axis = axis
        self._constants = dict(_constants(graph))
        self._makers = {name: node for node in graph.node for name in node.output}

    def to_the_end(self) -> ReceptiveField:
        source = next(i.name for i in self._graph.input if i.name not in self._constants)
        reaches = {source: _Reach(Fraction(1), Fraction(0), Fraction(0))}
        strides = {1}
        sizes: set[str] = set()
        """Values computed from the size of the picture, which is another one for a tile."""
        for node in self._graph.node:
            read = [reaches[name] for name in node.input if name in reaches]
            reads_sizes = not sizes.isdisjoint(node.input)
            if not read or node.op_type in _SHAPE_ONLY:
                if read or reads_sizes:
                    sizes.update(node.output)
                continue
            if reads_sizes and node.op_type not in _SIZED:  # such as a map of positions
                raise _UnboundedError
            reach = self._after(node, read)
            reaches.update(dict.fromkeys(node.output, reach))
            strides.add(reach.jump.numerator)
        result = reaches[self._graph.output[0].name]
        if result.jump != 1:
            raise _UnboundedError
        return ReceptiveField(math.ceil(max(-result.low, result.high, Fraction(0))), math.lcm(*strides))

    def _after(self, node: onnx.NodeProto, read: Sequence[_Reach]) -> _Reach:
        """The reach of what ``node`` makes of values with these reaches."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        kind = node.op_type
        if kind == "BatchNormalization" and (attributes.get("training_mode") or len(node.output) > 1):
            raise _UnboundedError  # it takes the mean of the whole picture
        if kind in _PIXELWISE or (kind == "Concat" and attributes["axis"] == 1):
            return functools.reduce(_Reach.merged, read)
        if len(read) > 1:
            raise _UnboundedError
        if kind in ("Conv", "MaxPool", "AveragePool"):
            return self._after_window(node, read[0], attributes)
        if kind == "DepthToSpace":
            return read[0].enlarged(attributes["blocksize"], around=0)
        if kind == "Resize":
            return self._after_resize(node, read[0], attributes)
        if kind == "Pad" and attributes.get("mode") != b"wrap":
            return read[0].moved(
                -self._of_axis(attributes.get("pads") or self._elements(node.input[1]), node, 3)
            )
        if kind == "Slice" and len(node.input) > 3:
            if len(node.input) > 4 and set(self._elements(node.input[4])) != {1}:
                raise _UnboundedError
            return read[0].moved(self._of_axis(self._elements(node.input[1]), node, 3))
        raise _UnboundedError

    def _after_window(self, node: onnx.NodeProto, reach: _Reach, attributes: Mapping[str, Any]) -> _Reach:
        if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise _UnboundedError
        side = self._axis - _HEIGHT
        kernels = attributes.get("kernel_shape") or self._constants[node.input[1]].shape[2:]
        span = (kernels[side] - 1) * attributes.get("dilations", (1, 1))[side]
        begin = attributes.get("pads", (0, 0, 0, 0))[side]
        stride = attributes.get("strides", (1, 1))[side]
        return reach.window(stride=stride, first=-begin, last=span - begin)

    def _after_resize(self, node: onnx.NodeProto, reach: _Reach, attributes: Mapping[str, Any]) -> _Reach:
        # Other modes stretch the picture a little, so that no pixel keeps its place.
        if attributes.get("coordinate_transformation_mode", b"half_pixel") not in _STAYING:
            raise _UnboundedError
        # The first Resize had no region of interest.
        scales = self._constants[node.input[1 if len(node.input) == 2 else 2]]
        axes = [axis % 4 for axis in attributes.get("axes", range(4))]
        scale = float(scales[axes.index(self._axis)]) if self._axis in axes else 1.0
        if scale < 1 or not scale.is_integer():
            raise _UnboundedError
        around = {b"nearest": 1, b"linear": 1, b"cubic": 2}[attributes.get("mode", b"nearest")]
        return reach.enlarged(int(scale), around=around)

    def _of_axis(self, values: Sequence[int | None], node: onnx.NodeProto, axes_input: int) -> int:
        """What a Pad or a Slice does at the top or the left; what it does at the other end moves nothing."""
        axes: Sequence[int | None] = range(4)
        if len(node.input) > axes_input and node.input[axes_input]:
            axes = self._elements(node.input[axes_input])
        begins = dict(zip(axes, values, strict=False))  # of a Pad, only the first half
        begin = begins.get(self._axis, begins.get(self._axis - 4, 0))
        if begin is None or begin < 0:
            raise _UnboundedError
        return begin

    def _elements(self, name: str) -> list[int | None]:
        """The elements of a small integer tensor, None for those that depend on the picture's size."""
        if name in self._constants:
            return [int(v) for v in self._constants[name].flat]
        node = self._makers[name]
        if node.op_type == "Concat":
            return [element for part in node.input for element in self._elements(part)]
        if node.op_type in ("Cast", "Reshape", "Squeeze", "Unsqueeze"):
            return self._elements(node.input[0])
        return [None]


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)
