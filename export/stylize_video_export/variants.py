"""Faster variants of a style file: fp16 for GPUs, int8 for CPUs.

Both keep float32 inputs and outputs, and both are only worth having where they look
the same as fp32 and run faster: the exporter measures the one and the other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from stylize_video.styles.contract import INPUT_NAME, Precision
from stylize_video_export.parity import Pixels, runner
from stylize_video_export.quantization import ActivationLosses, round_weights
from stylize_video_export.quiet import quiet_tools

VARIANT_PSNR = 38.0
"""Least mean PSNR in dB against fp32 that a variant must reach to be written."""

WORST_PSNR = 25.0
"""Least PSNR in dB on each extreme picture. Where whole areas change colour it is 15 to 24."""

HALF_LIMIT = 65504 / 2
"""Largest value that fp16 is used for: half of what it holds, as other pictures reach a little further."""

_MOVING = ("Pad", "Transpose", "Reshape", "Slice", "DepthToSpace")
"""Operators that move values and compute nothing."""

_FLOAT32_OPERATORS = frozenset({"InstanceNormalization"})
_SPEED_SIZE = (360, 640)
_SPEED_RUNS = 9


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights and arithmetic are float16, with float32 at the border.

    Instance normalisation stays in float32: its variances overflow in half precision and
    leave black frames.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    floats = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    used_as_float: set[str] = set()
    halved: dict[str, onnx.TensorProto] = {}
    source, result = graph.input[0].name, graph.output[0].name
    nodes = [helper.make_node("Cast", [source], [f"{source}_half"], to=TensorProto.FLOAT16)]

    for node in graph.node:
        in_float = node.op_type in _FLOAT32_OPERATORS
        for index, name in enumerate(node.input):
            if name in floats:
                if in_float or (node.op_type == "Resize" and index > 0):  # a Resize has float scales
                    used_as_float.add(name)
                    continue
                if name not in halved:
                    values = numpy_helper.to_array(floats[name]).astype(np.float16)
                    halved[name] = numpy_helper.from_array(values, f"{name}_half")
                node.input[index] = f"{name}_half"
            elif name == source:
                node.input[index] = f"{source}_half"
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT:
            node.attribute[0].i = TensorProto.FLOAT16
        nodes += _in_float32(node) if in_float else [node]

    last = next(n for n in nodes if result in n.output)
    last.output[list(last.output).index(result)] = f"{result}_half"
    nodes.append(helper.make_node("Cast", [f"{result}_half"], [result], to=TensorProto.FLOAT))
    kept = [t for t in graph.initializer if t.name not in floats or t.name in used_as_float]
    _replace(graph.node, nodes)
    _replace(graph.initializer, [*kept, *halved.values()])
    return _clean(half, like=model)


def largest_value(model: onnx.ModelProto, pictures: Iterable[Pixels]) -> float:
    """The largest magnitude among the weights of an fp32 style and all that it computes of ``pictures``."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    weights = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.FLOAT]
    computed = [
        value.name
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    for name in computed:
        graph.node.append(helper.make_node("Abs", [name], [f"{name}_magnitude"]))
        graph.node.append(
            helper.make_node("ReduceMax", [f"{name}_magnitude"], [f"{name}_largest"], keepdims=0)
        )
    graph.node.append(helper.make_node("Max", [f"{name}_largest" for name in computed], ["largest"]))
    _replace(graph.output, [helper.make_tensor_value_info("largest", TensorProto.FLOAT, [])])
    run = runner(watched)
    largest = [*(np.abs(values).max() for values in weights), *(run(picture) for picture in pictures)]
    return float(np.max(largest))  # a NaN is the largest


def _in_float32(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """``node`` between casts of its first input and of its output."""
    data, output = node.input[0], node.output[0]
    node.input[0], node.output[0] = f"{data}_into_{node.name}", f"{output}_float"
    return [
        helper.make_node("Cast", [data], [node.input[0]], to=TensorProto.FLOAT),
        node,
        helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT16),
    ]


@dataclass(frozen=True)
class PreparedInt8:
    """An fp32 style with weights rounded for 8 bits; how wide the ranges of activations are is open.

    Attributes:
        model: the style as it was.
        rounded: the same network with rounded weights.
        steps: of each output channel, by the names of weights.
        left_out: names of the convolutions that stay in float.
        whole: see :func:`prepare_int8`.
        losses: of the ranges of activations.
        picture: any one, which ONNX Runtime's quantiser asks for.
    """

    model: onnx.ModelProto
    rounded: onnx.ModelProto
    steps: Mapping[str, NDArray[np.float32]]
    left_out: Collection[str]
    whole: bool
    losses: ActivationLosses
    picture: Pixels


def prepare_int8(model: onnx.ModelProto, pictures: Sequence[Pixels], *, whole: bool = False) -> PreparedInt8:
    """Do what int8 of any ranges needs, once.

    Weights use 7 of their 8 bits: the pairwise products that CPUs without VNNI add up in
    16 bits then never overflow, and every CPU gives the same picture. That costs 0.15 dB.

    The first and the last convolution of a network like any other stay in float: with 3 channels
    they are faster so, and what comes after the last one stays in float with it. Pixel shuffles
    before it move bytes.

    Args:
        model: an fp32 style.
        pictures: what the ranges of activations and the rounding of weights are fitted to: photos, and
            pictures with the largest values.
        whole: compute the first and the last convolution in 8 bits too. Frames are bytes, and what
            rounds to the same 256 levels loses nothing: from end to end the graph then
            holds nothing but bytes. Pays for networks in the form of :meth:`StyleNetwork.for_bytes`.

    Raises:
        ExportError: a value is no number.
    """
    with quiet_tools(), tempfile.TemporaryDirectory() as folder:
        plain, prepared = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared"))
        onnx.save_model(model, str(plain))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        in_float = onnx.load_model(str(prepared))
    nodes = list(in_float.graph.node)
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    border = [] if whole else [nodes[convolutions[0]], *nodes[convolutions[-1] :]]
    left_out = {node.name for node in border}
    kinds = _kinds_in_bytes(whole=whole)
    names = _rounded_values(in_float, [n for n in nodes if n.op_type in kinds and n.name not in left_out])
    losses = ActivationLosses.measure(in_float, names, pictures)
    rounded, steps = round_weights(in_float, left_out, pictures)
    return PreparedInt8(model, rounded, steps, left_out, whole, losses, pictures[0])


def to_int8(source: PreparedInt8, *, power: float = 0.5) -> onnx.ModelProto:
    """A copy of a style with int8 weights (per channel) and uint8 activations, in QDQ form.

    Args:
        source: the style, prepared.
        power: the less, the more do ranges go by most of the pictures instead of the largest values; see
            :meth:`~stylize_video_export.quantization.ActivationLosses.ranges`.
    """
    kinds = _kinds_in_bytes(whole=source.whole)
    ranges = source.losses.ranges(power=power)
    ranges |= dict.fromkeys(_of_pixels(source.rounded.graph), (0.0, 1.0)) if source.whole else {}
    for node in source.rounded.graph.node:  # what only moves values has those of its input
        if node.op_type in kinds and node.op_type in _MOVING and node.input[0] in ranges:
            ranges[node.output[0]] = ranges[node.input[0]]
    with quiet_tools(), tempfile.TemporaryDirectory() as folder:
        rounded, quantized = (Path(folder) / f"{name}.onnx" for name in ("rounded", "int8"))
        onnx.save_model(source.rounded, str(rounded))
        quantize_static(
            str(rounded),
            str(quantized),
            _OnePicture(source.picture),
            calibrate_method=CalibrationMethod.MinMax,  # of nothing: all ranges are given
            extra_options={"TensorQuantOverrides": _overrides(ranges, source.steps)},
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=kinds,
            nodes_to_exclude=sorted(source.left_out),
        )
        result = onnx.load_model(str(quantized))
    return _clean(_moving_bytes(result) if source.whole else result, like=source.model)


def _kinds_in_bytes(*, whole: bool) -> list[str]:
    """The operators that compute in bytes, or move them."""
    return ["Conv", "Add", "Relu", *(_MOVING if whole else ("DepthToSpace",))]


def _rounded_values(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """What of a graph's values is rounded to bytes where ``nodes`` compute in them."""
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    known = onnx.shape_inference.infer_shapes(model).graph
    pictures = {
        value.name
        for value in (*known.value_info, *known.input, *known.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
        and len(value.type.tensor_type.shape.dim) == 4
    }
    names = {name for node in nodes for name in (*node.input[:2], *node.output)} & pictures
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    # A ReLU is a range from 0 on: what it is computed from is not rounded.
    return sorted(n for n in names if not (makers.get(n) == "Conv" and readers.get(n) == ["Relu"]))


def _overrides(
    ranges: Mapping[str, tuple[float, float]], steps: Mapping[str, NDArray[np.float32]]
) -> dict[str, list[dict[str, Any]]]:
    """Ranges of activations and steps of weights as ONNX Runtime's quantiser takes them."""
    chosen: dict[str, list[dict[str, Any]]] = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()
    }
    for name, step in steps.items():
        zero = np.array(0, np.int8)
        chosen[name] = [{"scale": np.array(value, np.float32), "zero_point": zero} for value in step]
        chosen[name][0] |= {"quant_type": QuantType.QInt8, "axis": 0}
    return chosen


def _of_pixels(graph: onnx.GraphProto) -> Iterator[str]:
    """The values before the first convolution and after the last: pixels in 0..1, moved about."""
    makers = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    name = convolutions[0].input[0]
    while name in makers:
        yield name
        name = makers[name].input[0]
    yield name
    name = graph.output[0].name
    if makers[name].op_type == "Clip":
        name = makers[name].input[0]
    while makers[name] is not convolutions[-1]:
        yield name
        name = makers[name].input[0]
    yield name


def _moving_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with what only moves values moving bytes, instead of floats between two conversions."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    dropped: set[str] = set()
    for node in graph.node:
        mover = makers.get(node.input[0])
        if node.op_type == "Shape" and mover is not None and mover.op_type == "DequantizeLinear":
            node.input[0] = makers[mover.input[0]].input[0]  # as large as what was rounded
        elif node.op_type == "QuantizeLinear" and mover is not None and mover.op_type in _MOVING:
            mover.input[0] = makers[mover.input[0]].input[0]
            mover.output[0] = node.output[0]
            dropped.add(node.name)
    kept = [node for node in graph.node if node.name not in dropped]
    used = {name for node in kept for name in node.input} | {graph.output[0].name}
    _replace(graph.node, [node for node in kept if used.intersection(node.output)])
    return model


def measure_speed(models: Mapping[Precision, onnx.ModelProto], *, provider: str) -> dict[Precision, float]:
    """Median milliseconds for a 640x360 frame in each model, interleaved in one run."""
    frame = np.random.default_rng(0).random((1, 3, *_SPEED_SIZE), np.float32)
    sessions = {name: runner(model, provider=provider) for name, model in models.items()}
    seconds: dict[Precision, list[float]] = {name: [] for name in models}
    for run in range(_SPEED_RUNS + 1):
        for name, session in sessions.items():
            start = time.perf_counter()
            session(frame)
            if run:  # the first only warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * median(values) for name, values in seconds.items()}


class _OnePicture(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    def __init__(self, picture: Pixels) -> None:
        self._left = iter([picture])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._left, None)
        return None if picture is None else {INPUT_NAME: picture}


def _clean(model: onnx.ModelProto, *, like: onnx.ModelProto) -> onnx.ModelProto:
    """Without the tools' own notes, and with the border, producer and version of ``like``."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for value, original in ((model.graph.input, like.graph.input), (model.graph.output, like.graph.output)):
        _replace(value, original)
    model.producer_name, model.producer_version = like.producer_name, like.producer_version
    model.ir_version = like.ir_version
    model.doc_string = ""
    model.graph.name = like.graph.name
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used or o.domain in ("", "ai.onnx")]
    _replace(model.opset_import, kept)
    onnx.checker.check_model(model, full_check=True)
    return model


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Set a repeated protobuf field."""
    copies = list(items)
    del field[:]
    field.extend(copies)
