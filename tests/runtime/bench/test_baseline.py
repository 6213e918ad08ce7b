"""The field's network, built without torch."""

from __future__ import annotations

import numpy as np
import onnx

from stylize_video.bench.baseline import transformer_net
from stylize_video.styles.session import StyleSession
from support import draw_picture


def test_the_baseline_is_the_fields_network() -> None:
    style = transformer_net(width=32)
    parameters = sum(
        int(np.prod(t.dims)) for t in style.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT
    )
    # Johnson et al.'s network with instance normalisation has 1.68 million.
    assert abs(parameters - 1_679_235) < 100
    kinds = [node.op_type for node in style.model.graph.node]
    assert kinds.count("Conv") == 16
    assert kinds.count("InstanceNormalization") == 15
    frame = draw_picture(0, 64, 48)
    session = StyleSession(transformer_net(width=4), "cpu", input_range=1)
    assert session.stylize(frame).shape == frame.shape
