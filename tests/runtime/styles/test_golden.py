"""A style file whose weights changed after its export is found, and one that did not is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from stylize_video.styles.golden import golden_problem, initializers_sha256
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style, variant_path


def problem_of(style: str | Path) -> str | None:
    return golden_problem(StyleSession(Style.load(style), "cpu"))


def without(style: Path, weight: str, to: Path) -> Path:
    """A copy of a style with one weight all zeros, and no hash of its weights, as older files have none."""
    model = onnx.load_model(str(style))
    hashes = [prop for prop in model.metadata_props if prop.key.endswith("initializers_sha256")]
    for prop in hashes:
        model.metadata_props.remove(prop)
    tensor = next(t for t in model.graph.initializer if t.name.endswith(weight))
    zeros = np.zeros_like(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    to.write_bytes(model.SerializeToString())
    return to


@pytest.mark.parametrize(
    ("style", "weight"),
    [
        ("scream", "body.1.conv2.conv.weight"),
        ("scream", "body.2.conv1.conv.weight"),
        ("mosaic", "body.1.conv1.conv.weight"),
        ("photo", "body.1.conv1.conv.weight"),
    ],
)
def test_a_layer_that_is_lost_is_seen_in_the_pair_of_fp32(style: str, weight: str, tmp_path: Path) -> None:
    """It leaves 34 to 40 dB there."""
    problem = problem_of(without(find_style(style), weight, tmp_path / "broken.onnx"))
    assert problem
    assert "gives other pixels than when it was exported" in problem


def test_weights_are_those_of_the_export(tmp_path: Path) -> None:
    """int8's pair may differ by more from one processor to another than by an error in its weights."""
    source = variant_path(find_style("scream"), "int8")
    model = onnx.load_model(str(source))
    style = Style.load(source)
    assert style.metadata
    signed = replace(style.metadata, initializers_sha256=initializers_sha256(style.model))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, signed.to_props())
    (tmp_path / "right.onnx").write_bytes(model.SerializeToString())
    assert problem_of(tmp_path / "right.onnx") is None
    scale = next(t for t in model.graph.initializer if t.name == "frames_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.001), scale.name))
    (tmp_path / "wrong.onnx").write_bytes(model.SerializeToString())
    problem = problem_of(tmp_path / "wrong.onnx")
    assert problem
    assert "has other weights than when it was exported" in problem


def test_weights_that_another_tool_has_written_anew_are_the_same() -> None:
    """Tools keep numbers in other fields, and leave out or add what only people read."""
    for precision in ("fp32", "int8"):
        model = onnx.load_model(str(variant_path(find_style("scream"), precision)))
        before = initializers_sha256(model)
        for tensor in model.graph.initializer:
            numbers = numpy_helper.to_array(tensor)
            listed = numbers.ravel().tolist()
            tensor.CopyFrom(
                onnx.helper.make_tensor(tensor.name, tensor.data_type, numbers.shape, listed)
                if tensor.data_type == onnx.TensorProto.FLOAT
                else numpy_helper.from_array(numbers, tensor.name)
            )
        assert initializers_sha256(model) == before


def test_weights_that_have_changed_places_or_shape_are_others() -> None:
    model = onnx.load_model(str(find_style("scream")))
    before = initializers_sha256(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    first, second = (tensors[f"network.body.1.conv{k}.conv.weight"] for k in (1, 2))
    first.name, second.name = second.name, first.name
    assert initializers_sha256(model) != before
    first.name, second.name = second.name, first.name
    assert initializers_sha256(model) == before
    first.dims[0], first.dims[1] = first.dims[1] * 2, first.dims[0] // 2
    assert initializers_sha256(model) != before


def test_a_style_of_other_makers_has_no_pair(invert_style: Path) -> None:
    problem = problem_of(invert_style)
    assert problem
    assert problem.endswith("has no golden pair to check it by: it was not made by export-onnx")
