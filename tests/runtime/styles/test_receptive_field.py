"""How far a network looks, found from its graph, is how far it looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from stylize_video.bench.baseline import transformer_net
from stylize_video.styles.receptive_field import ReceptiveField, find_receptive_field
from stylize_video.styles.style import Style, find_style, find_variants

Step = tuple[str, list[Any], dict[str, Any]]


def chain(*steps: Step) -> onnx.ModelProto:
    """Operators in a row from ``frames`` to ``stylized``; each one's other inputs are arrays."""
    nodes, constants, value = [], [], "frames"
    for index, (kind, operands, attributes) in enumerate(steps):
        names = []
        for position, operand in enumerate(operands):
            names.append("" if operand is None else f"c{index}_{position}")
            if operand is not None:
                constants.append(numpy_helper.from_array(np.asarray(operand), names[-1]))
        result = "stylized" if index == len(steps) - 1 else f"v{index}"
        nodes.append(helper.make_node(kind, [value, *names], [result], **attributes))
        value = result
    shape: list[str | int | None] = ["N", 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("frames", "stylized")]
    graph = helper.make_graph(nodes, "chain", infos[:1], infos[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def weight(outputs: int, kernel: int | tuple[int, int], inputs: int = 3) -> np.ndarray:
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    shape = (outputs, inputs, height, width)
    return np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)


CONV3: Step = ("Conv", [weight(3, 3)], {"pads": [1, 1, 1, 1]})
DOWN: Step = ("Conv", [weight(12, 4)], {"pads": [1, 1, 1, 1], "strides": [2, 2]})
UP: Step = ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"})
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
TWICE = np.array([1, 1, 2, 2], np.float32)

BOUNDED: dict[str, tuple[Step, ...]] = {
    "one convolution": (CONV3,),
    "two": (CONV3, ("Relu", [], {}), CONV3),
    "dilated": (("Conv", [weight(3, 3)], {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),),
    "wide and flat": (("Conv", [weight(3, (1, 7))], {"pads": [0, 3, 0, 3]}),),
    "padded apart": (
        ("Pad", [np.array([0, 0, 2, 2, 0, 0, 2, 2])], {"mode": "reflect"}),
        ("Conv", [weight(3, 5)], {}),
    ),
    "padded and cropped": (
        ("Pad", [np.array([0, 0, 6, 6, 0, 0, 6, 6])], {"mode": "reflect"}),
        CONV3,
        ("Slice", [np.array([6]), np.array([-6]), np.array([2])], {}),
        ("Slice", [np.array([6]), np.array([-6]), np.array([-1])], {}),
    ),
    "down and up": (DOWN, UP, CONV3),
    "nearest": (
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE], NEAREST),
    ),
    "between pixels": (
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ),
    "between more of them": (
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE], {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"}),
    ),
    "to the left, between pixels": (
        ("Conv", [weight(3, (1, 5))], {"pads": [0, 4, 0, 0]}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ),
    "two axes named": (
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE[2:]], {**NEAREST, "axes": [2, 3]}),
    ),
}


def observed(model: onnx.ModelProto, step: int) -> int:
    """How far single changed pixels reach in the result."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    picture = rng.random((1, 3, 96, 96), np.float32)
    before = session.run(None, {"frames": picture})[0]
    reach = 0
    for dy in range(step):
        for dx in range(step):
            changed = picture.copy()
            y, x = 48 + dy, 48 + dx
            changed[..., y, x] += 5
            moved = np.argwhere(np.any(session.run(None, {"frames": changed})[0] != before, axis=(0, 1)))
            reach = max(reach, *np.abs(moved - [y, x]).max(axis=0))
    return int(reach)


@pytest.mark.parametrize("steps", BOUNDED.values(), ids=BOUNDED)
def test_no_pixel_reaches_further(steps: tuple[Step, ...]) -> None:
    model = chain(*steps)
    found = find_receptive_field(model)
    assert found is not None
    reach = observed(model, found.stride)
    assert reach <= found.radius <= reach + 2  # what is not needed would be computed for nothing


def test_the_grid() -> None:
    found = find_receptive_field(chain(DOWN, ("Relu", [], {}), UP))
    assert found
    assert found.stride == 2
    assert ReceptiveField(53, 4).margin == 56
    assert ReceptiveField(56, 8).margin == 56
    assert ReceptiveField(0, 4).margin == 0


UNBOUNDED: dict[str, tuple[Step, ...]] = {
    "instance normalisation": (
        CONV3,
        ("InstanceNormalization", [np.ones(3, np.float32), np.zeros(3, np.float32)], {}),
    ),
    "a mean over everything": (("ReduceMean", [np.array([2, 3])], {}),),
    "half size": (DOWN,),
    "a fraction": (("Resize", [None, np.array([1, 1, 1.5, 1.5], np.float32)], NEAREST),),
    "stretched to the corners": (
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Resize", [None, TWICE], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ),
    "every second row": (
        ("Slice", [np.array([0]), np.array([10_000]), np.array([2]), np.array([2])], {}),
        ("Slice", [np.array([0]), np.array([10_000]), np.array([3]), np.array([2])], {}),
    ),
    "the end of the picture": (
        ("Pad", [np.array([0, 0, 4, 0, 0, 0, 0, 0])], {"mode": "edge"}),
        ("Slice", [np.array([-32]), np.array([10_000]), np.array([2])], {}),
    ),
    "padding that depends on the size": (
        ("Conv", [weight(3, 3)], {"auto_pad": "SAME_UPPER", "strides": [1, 1]}),
    ),
    "flipped": (("Transpose", [], {"perm": [0, 1, 3, 2]}),),
    "statistics of the picture": (
        ("BatchNormalization", [np.full(3, n, np.float32) for n in (1, 0, 0, 1)], {"training_mode": 1}),
    ),
    "padded with the other side": (
        ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {"mode": "wrap"}),
        ("Conv", [weight(3, 3)], {}),
    ),
}


def test_the_first_resize_had_no_region_of_interest() -> None:
    halved: Step = ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]})
    model = chain(halved, ("Resize", [TWICE], {"mode": "nearest"}))
    model.opset_import[0].version = 10
    assert find_receptive_field(model) == find_receptive_field(chain(*BOUNDED["nearest"]))


@pytest.mark.parametrize("steps", UNBOUNDED.values(), ids=UNBOUNDED)
def test_what_cannot_be_tiled(steps: tuple[Step, ...]) -> None:
    assert find_receptive_field(chain(*steps)) is None


def test_a_picture_below_itself_cannot_be_tiled() -> None:
    model = chain(("Concat", [None], {"axis": 2}), CONV3)
    model.graph.node[0].input[1] = "frames"
    assert find_receptive_field(model) is None
    model.graph.node[0].attribute[0].i = 1
    assert find_receptive_field(model) is not None


def test_a_map_of_positions_is_another_one_for_a_tile() -> None:
    """As in CoordConv or a vignette: the network's pictures depend on where in the frame a pixel is."""
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Shape", ["frames"], "sides", {}),
        ("Gather", ["sides", "third"], "width", {}),
        ("Range", ["zero", "width", "one"], "columns", {}),
        ("Cast", ["columns"], "map", {"to": TensorProto.FLOAT}),
        ("Add", ["frames", "map"], "stylized", {}),
    ]
    model = chain(("Relu", [], {}))
    del model.graph.node[:]
    model.graph.node.extend(helper.make_node(kind, i, [o], **how) for kind, i, o, how in steps)
    for name, value in (("third", 3), ("zero", 0), ("one", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    onnx.checker.check_model(model, full_check=True)
    assert find_receptive_field(model) is None


def test_the_reference_network_looks_everywhere_and_shipped_styles_do_not() -> None:
    assert find_receptive_field(transformer_net(width=4).model) is None
    for precision, path in find_variants(find_style("photo")).items():
        style = Style.load(path)
        found = find_receptive_field(style.model)
        assert style.metadata is not None
        if precision == "int8":  # moves bytes about: only its metadata tells
            assert found is None
        else:
            assert found
            assert style.metadata.receptive_field == (found.radius, found.stride)
            assert 8 < found.radius < 200
