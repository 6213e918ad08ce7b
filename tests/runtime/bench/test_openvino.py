"""The same files on OpenVINO."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from stylize_video.bench.openvino import OpenVinoNetwork
from stylize_video.errors import StylizeError
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style
from stylize_video.threads import in_order
from support import draw_picture


@pytest.mark.parametrize("at_once", [1, 2])
def test_openvino_gives_the_same_picture(at_once: int) -> None:
    pytest.importorskip("openvino", reason="an option")
    style = Style.load("photo")
    network = OpenVinoNetwork(style, at_once=at_once)
    compiled = network._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    assert network.precision.replace("p", "") == compiled, "bf16 is no fp32"
    session = StyleSession(style, "cpu")
    pictures = [draw_picture(index, 64, 48) for index in range(4)]
    for picture, stylized in in_order(network.stylize, pictures, at_once=at_once):
        error = np.square(session.stylize(picture).astype(float) - stylized).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 38


def test_openvino_runs_styles_of_one_size(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="an option")
    model = onnx.load_model(find_style("photo"))
    for value in (*model.graph.input, *model.graph.output):
        for dim, side in zip(list(value.type.tensor_type.shape.dim)[2:], (48, 64), strict=True):
            dim.dim_value = side
    onnx.save_model(model, tmp_path / "fixed.onnx")
    style = Style.load(tmp_path / "fixed.onnx")
    assert style.fixed_size == (48, 64)
    picture = draw_picture(0, 100, 80)
    stylized = OpenVinoNetwork(style).stylize(picture)
    error = np.square(StyleSession(style, "cpu").stylize(picture).astype(float) - stylized).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 38


def test_openvino_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(StylizeError, match="pip install openvino"):
        OpenVinoNetwork(Style.load("photo"))
