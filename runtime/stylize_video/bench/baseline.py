"""The network that the field runs: Johnson et al.'s TransformerNet, built without torch.

9x9 and 3x3 reflect-padded convolutions, instance normalisation, five residual blocks and
nearest upsampling, as in the public ``fast_neural_style`` projects. Its weights are
random: they cost what trained ones cost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stylize_video.styles.contract import INPUT_NAME, OUTPUT_NAME
from stylize_video.styles.style import Style

_BLOCKS = 5


class _Builder:
    """Appends layers to a graph; each method takes a value's name and returns the next one's."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))  # type: ignore[arg-type]
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def convolution(self, x: str, channels: tuple[int, int], *, kernel: int, stride: int = 1) -> str:
        margin = kernel // 2
        pads = self.constant(np.array([0, 0, margin, margin] * 2, np.int64))
        shape = (channels[1], channels[0], kernel, kernel)
        deviation = (channels[0] * kernel**2) ** -0.5
        weight = self.constant((self._rng.standard_normal(shape) * deviation).astype(np.float32))
        bias = self.constant(np.zeros(channels[1], np.float32))
        padded = self.add("Pad", x, pads, mode="reflect")
        return self.add("Conv", padded, weight, bias, strides=[stride, stride])

    def norm(self, x: str, channels: int) -> str:
        scale, bias = (self.constant(np.full(channels, v, np.float32)) for v in (1, 0))
        return self.add("InstanceNormalization", x, scale, bias)

    def upsample(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )  # fmt: skip


def transformer_net(*, width: int = 32, seed: int = 0) -> Style:
    """The TransformerNet of this width as a style; sides must be multiples of four."""
    net = _Builder(seed)
    y = INPUT_NAME
    for channels, kernel, stride in (
        ((3, width), 9, 1),
        ((width, 2 * width), 3, 2),
        ((2 * width, 4 * width), 3, 2),
    ):
        y = net.convolution(y, channels, kernel=kernel, stride=stride)
        y = net.add("Relu", net.norm(y, channels[1]))
    inner = (4 * width, 4 * width)
    for _ in range(_BLOCKS):
        z = net.add("Relu", net.norm(net.convolution(y, inner, kernel=3), inner[1]))
        y = net.add("Add", y, net.norm(net.convolution(z, inner, kernel=3), inner[1]))
    for channels in ((4 * width, 2 * width), (2 * width, width)):
        y = net.convolution(net.upsample(y), channels, kernel=3)
        y = net.add("Relu", net.norm(y, channels[1]))
    y = net.convolution(y, (width, 3), kernel=9)
    net.nodes[-1].output[0] = OUTPUT_NAME
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (INPUT_NAME, OUTPUT_NAME)]
    graph = helper.make_graph(net.nodes, "TransformerNet", infos[:1], infos[1:], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    name = f"TransformerNet-{width}"
    return Style(name, Path(f"{name}.onnx"), metadata=None, fixed_size=None, model=model)
