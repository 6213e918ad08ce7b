"""The adapted graph takes and gives frames as capture does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stylize_video.styles.adapter import FRAMES, STYLIZED, adapt_to_bgr, adapt_to_rgb


def run(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run([STYLIZED], {FRAMES: frames})[0]
    return result


def identity_model(*, opset: int, scale: float = 1.0) -> onnx.ModelProto:
    """``frames * scale`` in the dialect of an old or new opset."""
    nodes = [helper.make_node("Mul", ["input.1", "scale"], ["433"])]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, None, None])
        for name in ("input.1", "433")
    ]
    constant = numpy_helper.from_array(np.array(scale, np.float32), "scale")
    inputs = [infos[0]]
    if opset < 9:  # before IR version 4 every initializer was an input too
        inputs.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, []))
    graph = helper.make_graph(nodes, "identity", inputs, [infos[1]], [constant])
    version = 3 if opset < 9 else 8
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version)


@settings(max_examples=25, deadline=None)
@given(st.integers(16, 60), st.integers(16, 60), st.integers(0, 2**32 - 1))
def test_colours_and_rounding_are_exact(height: int, width: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    np.testing.assert_array_equal(run(adapt_to_bgr(identity_model(opset=18)), frames), frames)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 21])
def test_every_opset_and_both_ranges(opset: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 20, 31, 3), np.uint8)
    model = identity_model(opset=opset)
    for pixel_range in (1, 255):
        adapted = adapt_to_bgr(model, pixel_range=pixel_range)
        np.testing.assert_array_equal(run(adapted, frames), frames)


def test_out_of_range_values_are_clipped_not_wrapped() -> None:
    frames = np.full((1, 16, 16, 3), 200, np.uint8)
    assert run(adapt_to_bgr(identity_model(opset=18, scale=3)), frames).min() == 255
    assert run(adapt_to_bgr(identity_model(opset=18, scale=-1)), frames).max() == 0


def test_frames_are_bgr_and_the_model_sees_rgb(swap_style: Path) -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[..., 0] = 250  # blue
    swapped = run(adapt_to_bgr(onnx.load_model(str(swap_style))), frames)
    assert swapped[0, 8, 8].tolist() == [0, 0, 250]


def shuffling_model(*, opset: int, side_reader: bool = False) -> onnx.ModelProto:
    """Ends as real-time networks do: pixel shuffle, crop, clamp to 0..1."""
    weight = np.random.default_rng(1).normal(0, 0.6, (12, 3, 2, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["frames", "weight"], ["wide"], strides=[2, 2]),
        helper.make_node("DepthToSpace", ["wide"], ["large"], blocksize=2, mode="CRD"),
        helper.make_node("Slice", ["large", "starts", "ends", "axes"], ["cut"]),
        helper.make_node("Clip", ["cut", "low", "high"], ["stylized"]),
    ]
    if side_reader:  # something else that needs the floats in their place
        nodes.insert(2, helper.make_node("ReduceMax", ["large"], ["top"], keepdims=0))
        nodes[-1].input[2] = "top"
    constants = {
        "weight": weight,
        "starts": np.array([1, 0]),
        "ends": np.array([-1, 2**31]),
        "axes": np.array([2, 3]),
        "low": np.array(0.1, np.float32),
        "high": np.array(0.9, np.float32),
    }
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("frames", "stylized")]
    initializers = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "shuffle", infos[:1], infos[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("side_reader", [False, True])
def test_rounding_before_pixels_are_moved_changes_nothing(opset: int, side_reader: bool) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 32, 3), np.uint8)
    model = shuffling_model(opset=opset, side_reader=side_reader)
    early, late = (adapt_to_bgr(model, round_early=early) for early in (True, False))
    np.testing.assert_array_equal(run(early, frames), run(late, frames))
    onnx.checker.check_model(early)
    kinds = [node.op_type for node in early.graph.node]
    moved_late = not side_reader and opset >= 13
    assert (kinds.index("DepthToSpace") > len(kinds) - kinds[::-1].index("Cast") - 1) == moved_late


def test_batches(invert_style: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 17, 19, 3), np.uint8)
    inverted = run(adapt_to_bgr(onnx.load_model(str(invert_style))), frames)
    np.testing.assert_array_equal(inverted, 255 - frames)


def test_the_model_itself_is_left_alone(invert_style: Path) -> None:
    model = onnx.load_model(str(invert_style))
    before = model.SerializeToString()
    adapt_to_bgr(model)
    assert model.SerializeToString() == before


def rounding_model(**changes: Any) -> onnx.ModelProto:
    """Rounds to 256 levels, shifts the picture by a pixel, makes numbers of it again."""
    settings_ = {"scale": 1 / 255, "zero": 0, "reader": "Shape", "low": 0.0, **changes}
    nodes = [
        helper.make_node("QuantizeLinear", ["frames", "scale", "zero"], ["levels"]),
        helper.make_node(settings_["reader"], ["frames"], ["size"]),
        helper.make_node("Pad", ["levels", "pads"], ["larger"], mode="edge"),
        helper.make_node("Slice", ["larger", "starts", "size", "axes"], ["moved"]),
        helper.make_node("DequantizeLinear", ["moved", "scale", "zero"], ["numbers"]),
        helper.make_node("Clip", ["numbers", "low", "high"], ["stylized"]),
    ]
    if settings_["reader"] != "Shape":
        nodes[3].input[2] = "ends"
    constants: dict[str, np.ndarray] = {
        "scale": np.array(settings_["scale"], np.float32),
        "zero": np.array(settings_["zero"], np.uint8),
        "pads": np.array([0, 0, 1, 1, 0, 0, 0, 0]),
        "starts": np.array([0, 0, 0, 0]),
        "ends": np.array([9, 3, 16, 20]),
        "axes": np.array([0, 1, 2, 3]),
        "low": np.array(settings_["low"], np.float32),
        "high": np.array(1, np.float32),
    }
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("frames", "stylized")]
    initializers = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "rounding", infos[:1], infos[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_a_style_that_makes_bytes_gets_bytes() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), np.uint8)
    model = rounding_model()
    before = model.SerializeToString()
    on_rgb = adapt_to_rgb(model)
    assert model.SerializeToString() == before
    assert on_rgb is not None
    onnx.checker.check_model(on_rgb)
    kinds = {node.op_type for node in on_rgb.graph.node}
    assert not {"QuantizeLinear", "DequantizeLinear", "Clip"} & kinds
    np.testing.assert_array_equal(run(on_rgb, frames), run(adapt_to_bgr(model), frames))


@pytest.mark.parametrize(
    "changes",
    [{"scale": 1 / 128}, {"zero": 3}, {"reader": "Relu"}, {"low": 0.25}],
    ids=["other levels", "another black", "something needs the floats", "a clamp that matters"],
)
def test_a_style_that_makes_something_else_does_not(changes: dict[str, Any]) -> None:
    assert adapt_to_rgb(rounding_model(**changes)) is None
    assert adapt_to_rgb(identity_model(opset=18)) is None


@pytest.mark.parametrize("reader", [None, "turned", "cut"])
def test_a_fourth_channel_stays_only_where_nothing_else_needs_the_cut(reader: str | None) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), np.uint8)
    model = rounding_model()
    graph = model.graph
    padded = [
        helper.make_node("Transpose", ["moved"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Pad", ["pixels", "fourth"], ["four"]),
        helper.make_node("Transpose", ["four"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Slice", ["turned", "zero_", "three", "one"], ["cut"]),
    ]
    if reader is not None:
        padded.append(helper.make_node("Shape", [reader], ["read"]))
    for name, values in (("fourth", [0] * 7 + [1]), ("zero_", [0]), ("three", [3]), ("one", [1])):
        graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    at = next(index for index, node in enumerate(graph.node) if node.op_type == "DequantizeLinear")
    graph.node[at].input[0] = "cut"
    nodes = [*graph.node[:at], *padded, *graph.node[at:]]
    del graph.node[:]
    graph.node.extend(nodes)
    on_rgb = adapt_to_rgb(model)
    assert on_rgb is not None
    result = run(on_rgb, frames)
    assert result.shape[-1] == (4 if reader is None else 3)
    np.testing.assert_array_equal(result[..., :3], run(adapt_to_bgr(model), frames[..., ::-1])[..., ::-1])
