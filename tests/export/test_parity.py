"""The proof of an export sees one wrong pixel, another size, and values that are no numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stylize_video_export.parity import Pixels, compare

NOISE: Pixels = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)


def model_of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "style",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


SAME = model_of(helper.make_node("Identity", ["frames"], ["stylized"]))


def test_one_wrong_pixel_counts() -> None:
    def reference(pixels: Pixels) -> Pixels:
        wrong = pixels.copy()
        wrong[0, 1, 5, 7] += 0.25
        return wrong

    (row,) = compare(reference, SAME, [("noise", NOISE)])
    assert row.case == "noise"
    assert row.max_error == pytest.approx(0.25)
    assert row.mean_error == pytest.approx(0.25 / NOISE.size)


def test_no_number_is_no_agreement() -> None:
    (row,) = compare(lambda pixels: pixels + np.float32("nan"), SAME, [("noise", NOISE)])
    assert not row.max_error <= 1


def test_another_size_is_infinitely_wrong() -> None:
    """Also one that numpy would spread over the other."""
    mean = model_of(helper.make_node("GlobalAveragePool", ["frames"], ["stylized"]))
    (row,) = compare(lambda pixels: pixels, mean, [("noise", NOISE)])
    assert (row.case, row.max_error, row.mean_error) == ("noise gave (1, 3, 1, 1)", np.inf, np.inf)
