"""Sessions stylize every size, run where they say, and take foreign files."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stylize_video.errors import DeviceError, StyleError
from stylize_video.jobs.pipeline import stylize_frames
from stylize_video.machine import cores
from stylize_video.styles.device import Device, cuda_problem
from stylize_video.styles.session import MAX_PIXELS, StyleSession
from stylize_video.styles.style import Style
from stylize_video.styles.variants import open_session
from stylize_video.video.source import VideoSource
from support import draw_picture


def frame(height: int = 48, width: int = 64) -> np.ndarray:
    return draw_picture(3, width, height)[..., ::-1]


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 90), st.integers(16, 90))
def test_any_size_keeps_its_size(height: int, width: int) -> None:
    stylized = PHOTO.stylize(frame(height, width))
    assert stylized.shape == (height, width, 3)
    assert stylized.dtype == np.uint8


PHOTO = open_session("photo", device="cpu")


def test_pixels_are_right(invert_style: Path) -> None:
    session = StyleSession(Style.load(invert_style), "cpu")
    np.testing.assert_array_equal(session.stylize(frame()), 255 - frame())


def test_several_frames_at_once_are_the_same_frames_in_the_same_order(clip: Path, tmp_path: Path) -> None:
    """And threads of ONNX Runtime are divided among them."""
    pictures = {}
    for at_once in (1, 3):
        session = open_session("photo", device="cpu", at_once=at_once)
        assert session.at_once == at_once
        with VideoSource(clip) as video:
            frames = list(stylize_frames(video, session, smooth=0.3))
        pictures[at_once] = frames
    assert [f.pts for f in pictures[3]] == [f.pts for f in pictures[1]]
    for one, several in zip(pictures[1], pictures[3], strict=True):
        np.testing.assert_array_equal(one.image, several.image)


def test_opencv_leaves_the_cores_to_the_frames_in_the_works(clip: Path) -> None:
    usual = cv2.getNumThreads()
    session = open_session("photo", device="cpu", at_once=cores())
    with VideoSource(clip) as video, closing(stylize_frames(video, session)) as stylized:
        next(stylized)
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == usual


def test_views_that_are_not_contiguous(invert_style: Path) -> None:
    session = StyleSession(Style.load(invert_style), "cpu")
    view = frame(60, 80)[5:45, ::2]
    np.testing.assert_array_equal(session.stylize(view), 255 - view)


def test_too_small_frames_are_refused() -> None:
    with pytest.raises(StyleError, match="15x16 are too small"):
        PHOTO.stylize(np.zeros((16, 15, 3), np.uint8))


def test_devices() -> None:
    assert Device.parse("auto") is None
    assert Device.parse("cpu") == Device("cpu")
    assert Device.parse("cuda") == Device("cuda", 0)
    assert Device.parse("cuda:3") == Device("cuda", 3)
    assert str(Device("cuda", 3)) == "cuda:3"
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        Device.parse("gpu")


@pytest.mark.skipif(cuda_problem() is None, reason="CUDA works here")
def test_cuda_that_does_not_work_is_an_error_and_auto_the_cpu() -> None:
    with pytest.raises(DeviceError, match=r"--device cuda:0 cannot be used: .*(libcuda|CUDA|lib)"):
        open_session("photo", device="cuda")
    assert open_session("photo").device == Device("cpu")


@pytest.mark.cuda
@pytest.mark.skipif(cuda_problem() is not None, reason=f"no CUDA here: {cuda_problem()}")
def test_cuda_gives_the_same_picture_as_the_cpu() -> None:
    picture = frame(361, 639)
    on_cpu = open_session("photo", device="cpu", precision="fp32").stylize(picture).astype(float)
    on_gpu = open_session("photo", device="cuda", precision="fp32").stylize(picture).astype(float)
    assert 10 * np.log10(255**2 / np.square(on_cpu - on_gpu).mean()) >= 40


def test_a_fallback_to_the_cpu_is_never_called_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize_video.styles.device.cuda_problem", lambda: None)
    with pytest.raises(DeviceError, match=r"cuda:0"):
        StyleSession(Style.load("photo"), "cuda")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        assert StyleSession(Style.load("photo"), "auto").device == Device("cpu")


# --- files of other makers ------------------------------------------------------------------


def foreign_style(
    path: Path,
    *,
    white: int,
    size: int | None,
    opset: int = 9,
    names: tuple[str, str] = ("input1", "output1"),
) -> Path:
    """An inverting style as others publish it: 0..255 or 0..1, one size or any, old opsets, no metadata."""
    side: int | str = size or "S"
    nodes = [helper.make_node("Sub", ["white", names[0]], [names[1]])]
    constant = numpy_helper.from_array(np.array(white, np.float32), "white")
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side if size else "T"])]
        for name in names
    )
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    path.write_bytes(model.SerializeToString())
    return path


def test_what_white_is_in_our_styles_stands_in_the_file() -> None:
    assert open_session("photo", device="cpu", input_range=1).input_range == 1
    with pytest.raises(StyleError, match="white is 1, as the file says; leave out the input range"):
        open_session("photo", device="cpu", input_range=255)


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("size", [None, 224, 256, 720])
@pytest.mark.parametrize("names", [("inputImage", "outputImage"), ("input.1", "433")])
def test_foreign_styles(white: int, size: int | None, names: tuple[str, str], tmp_path: Path) -> None:
    path = foreign_style(tmp_path / "candy.onnx", white=white, size=size, names=names)
    session = open_session(path, device="cpu")
    assert session.input_range == white
    smooth = (
        np.repeat(np.linspace(20, 200, 90)[:, None, None], 160, axis=1).repeat(3, axis=2).astype(np.uint8)
    )
    stylized = session.stylize(smooth)
    assert stylized.shape == smooth.shape
    assert np.abs(stylized.astype(int) - (255 - smooth.astype(int))).max() <= 3


def johnson_style(path: Path, *, opset: int, size: int, white: int) -> Path:
    """Down, normalised, up again, as exporters of the time of ``opset`` wrote it, with random weights."""
    rng = np.random.default_rng(opset)
    values = {
        "down": rng.normal(0, 0.2, (8, 3, 3, 3)),
        "scale": np.ones(8),
        "shift": np.zeros(8),
        "out": rng.normal(0, 0.03 * white, (3, 8, 3, 3)),
        "bias": np.full(3, 0.5 * white),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "twice": np.array([1, 1, 2, 2]),
        "roi": np.zeros(0),
    }
    border: dict[str, Any] = {"mode": "reflect"}
    if opset < 11:  # what later became an operand was an attribute
        border["pads"] = [int(v) for v in values["pads"]]
    pads = [] if opset < 11 else ["pads"]
    up = helper.make_node("Resize", ["r", "roi", "twice"], ["u"], mode="nearest", nearest_mode="floor")
    if opset == 10:
        up = helper.make_node("Resize", ["r", "twice"], ["u"], mode="nearest")
    elif opset == 9:
        up = helper.make_node("Upsample", ["r", "twice"], ["u"], mode="nearest")
    elif opset < 9:
        up = helper.make_node("Upsample", ["r"], ["u"], mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
    nodes = [
        helper.make_node("Pad", ["inputImage", *pads], ["p"], **border),
        helper.make_node("Conv", ["p", "down"], ["c"], strides=[2, 2]),
        helper.make_node("InstanceNormalization", ["c", "scale", "shift"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        up,
        helper.make_node("Pad", ["u", *pads], ["q"], **border),
        helper.make_node("Conv", ["q", "out", "bias"], ["outputImage"]),
    ]
    used = {name for node in nodes for name in node.input}
    stored = [
        numpy_helper.from_array(v.astype(np.int64 if k == "pads" else np.float32), k)
        for k, v in values.items()
        if k in used
    ]
    picture, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, size, size])
        for name in ("inputImage", "outputImage")
    )
    inputs = [picture]
    if opset < 9:  # before IR version 4 every initializer was an input too
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored]
    graph = helper.make_graph(nodes, "torch-jit-export", inputs, [result], stored)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=3 if opset < 9 else 4)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("opset", "size"), [(7, 224), (8, 256), (9, 224), (10, 720), (11, 256)])
@pytest.mark.parametrize("white", [1, 255])
def test_graphs_of_old_exporters(opset: int, size: int, white: int, tmp_path: Path) -> None:
    path = johnson_style(tmp_path / "candy.onnx", opset=opset, size=size, white=white)
    session = open_session(path, device="cpu")
    assert session.input_range == white
    bgr = draw_picture(3, size, size)[..., ::-1]
    plain = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = bgr[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) * (white / 255)
    expected = plain.run(None, {"inputImage": pixels})[0][0] * (255 / white)
    stylized = session.stylize(bgr)[..., ::-1].transpose(2, 0, 1)
    assert stylized.std() > 10
    assert np.abs(stylized - expected.clip(0, 255)).max() < 1
    wide = draw_picture(3, 160, 90)[..., ::-1]
    assert session.stylize(wide).shape == wide.shape


def test_a_session_that_nobody_holds_is_freed_at_once(invert_style: Path) -> None:
    """Its memory and threads do not wait for the garbage collector."""
    gc.disable()
    try:
        session = StyleSession(Style.load(invert_style), "cpu", at_once=2)
        session.stylize(frame())
        left = weakref.ref(session)
        del session
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_session_of_the_parent_is_a_sentence_in_a_forked_process() -> None:
    """Its threads stayed in the parent; who waited for them would wait for ever."""
    program = (
        "import multiprocessing, numpy as np\n"
        "from stylize_video import StylizeError, open_session\n"
        "session = open_session('photo', device='cpu', threads=2)\n"
        "def job(_):\n"
        "    try:\n"
        "        session.stylize(np.zeros((64, 64, 3), np.uint8))\n"
        "    except StylizeError as error:\n"
        "        return str(error)\n"
        "job(0)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    print(pool.map_async(job, [0]).get(30))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert "this session was opened before its process was forked; open one in each process" in done.stdout


def test_the_range_can_be_overruled(tmp_path: Path) -> None:
    path = foreign_style(tmp_path / "candy.onnx", white=255, size=None)
    assert open_session(path, device="cpu", input_range=1).stylize(frame()).min() == 255
    with pytest.raises(StyleError, match="1 or 255, got 2"):
        open_session(path, device="cpu", input_range=2)


@pytest.mark.parametrize("numbers", [True, False])
def test_values_that_are_no_numbers_are_told(
    numbers: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])]
    path = sized_style(tmp_path / "s.onnx", [helper.make_node("Sqrt", ["x"], ["y"])] if numbers else root)
    StyleSession(Style.load(path), "cpu")
    assert ("no numbers" in caplog.text) == (not numbers)


def test_normalising_networks_do_not_hide_their_range(tmp_path: Path) -> None:
    """Instance normalisation gives 0..255 whatever the input's scale: the output tells."""
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"]),
    ]
    values = {"scale": np.full(3, 60, np.float32), "bias": np.full(3, 120, np.float32)}
    shape: list[str | int | None] = [1, 3, "H", "W"]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    constants = [numpy_helper.from_array(v, k) for k, v in values.items()]
    graph = helper.make_graph(nodes, "in", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    (tmp_path / "norm.onnx").write_bytes(model.SerializeToString())
    assert open_session(tmp_path / "norm.onnx", device="cpu").input_range == 255


def test_a_network_that_takes_0_to_1_for_black_tells_its_range(tmp_path: Path) -> None:
    """Nothing in its output is above 1: it is flat, where 0 to 255 gives a picture."""
    nodes = [helper.make_node("Sub", ["x", "dark"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    path = sized_style(tmp_path / "s.onnx", nodes, dark=np.array(50, np.float32))
    assert open_session(path, device="cpu").input_range == 255


def test_foreign_outputs_of_another_size_are_brought_back(tmp_path: Path) -> None:
    """Public networks round sizes up to a multiple of four: nothing may be sheared."""
    nodes = [helper.make_node("Pad", ["x", "pads"], ["y"], mode="edge")]
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 2, 3], np.int64), "pads")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "H", "W"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])]
    graph = helper.make_graph(nodes, "pad", inputs, outputs, [pads])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    (tmp_path / "pad.onnx").write_bytes(model.SerializeToString())
    assert open_session(tmp_path / "pad.onnx", device="cpu").stylize(frame()).shape == frame().shape


def sized_style(path: Path, nodes: list[onnx.NodeProto], **values: np.ndarray) -> Path:
    """A foreign style whose pictures come out in other sizes."""
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *sides])]
        for name, sides in (("x", ("H", "W")), ("y", ("h", "w")))
    )
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "sized", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path.write_bytes(model.SerializeToString())
    return path


def identity_kernel(side: int) -> np.ndarray:
    kernel = np.zeros((3, 3, side, side), np.float32)
    kernel[range(3), range(3), side // 2, side // 2] = 1
    return kernel


def shuffled(path: Path) -> Path:
    """It takes sides that are multiples of eight."""
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["a"], blocksize=8),
        helper.make_node("DepthToSpace", ["a"], ["y"], blocksize=8),
    ]
    return sized_style(path, nodes)


def skipping(path: Path) -> Path:
    """A quarter of the size and back, added to the picture: other sides than multiples of four do not fit."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["a"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Resize", ["a", "", "four"], ["b"], mode="nearest"),
        helper.make_node("Add", ["x", "b"], ["c"]),
        helper.make_node("Mul", ["c", "half"], ["y"]),
    ]
    return sized_style(path, nodes, four=np.array([1, 1, 4, 4], np.float32), half=np.array(0.5, np.float32))


@pytest.mark.parametrize("make", [shuffled, skipping])
def test_frames_are_padded_for_networks_that_take_some_sizes_only(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    session = StyleSession(Style.load(make(tmp_path / "some.onnx")), "cpu", input_range=1)
    picture = frame(96, 128)
    whole = session.stylize(picture)
    for height, width in ((93, 128), (96, 121), (17, 35), (93, 121)):
        stylized = session.stylize(picture[:height, :width])
        assert stylized.shape == (height, width, 3)
        inside = height // 8 * 8, width // 8 * 8
        np.testing.assert_array_equal(stylized[: inside[0], : inside[1]], whole[: inside[0], : inside[1]])


def test_a_network_that_fails_on_every_size_is_told_of_the_frames_own(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    style = sized_style(tmp_path / "odd.onnx", nodes, shape=np.array([1, 3, 64, 64], np.int64))
    session = StyleSession(Style.load(style), "cpu", input_range=1)
    with pytest.raises(StyleError, match=r"odd\.onnx failed on a 131x50 frame"):
        session.stylize(frame(50, 131))


def unpadded(path: Path) -> Path:
    """Some pixels smaller, as convolutions without padding make it."""
    return sized_style(path, [helper.make_node("Conv", ["x", "w"], ["y"])], w=identity_kernel(9))


def unpadded_and_skipping(path: Path) -> Path:
    """Both: it takes multiples of four, and gives pictures some pixels smaller."""
    model = onnx.load_model(str(skipping(path)))
    model.graph.node[-1].output[0] = "d"
    model.graph.node.append(helper.make_node("Conv", ["d", "w"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(identity_kernel(9), "w"))
    path.write_bytes(model.SerializeToString())
    return path


def halved(path: Path) -> Path:
    """At half the size and back: odd sides come out a pixel larger."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Resize", ["a", "", "twice"], ["y"], mode="linear"),
    ]
    return sized_style(path, nodes, w=identity_kernel(3), twice=np.array([1, 1, 2, 2], np.float32))


@pytest.mark.parametrize("make", [unpadded, unpadded_and_skipping, halved])
def test_no_seam_where_a_network_changes_the_size_of_tiles(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, picture = Style.load(make(tmp_path / "sized.onnx")), frame(301, 403)
    whole = StyleSession(style, "cpu", input_range=1).stylize(picture)
    monkeypatch.setitem(MAX_PIXELS, "cpu", 50_000)
    session = StyleSession(style, "cpu", input_range=1)
    for _ in range(2):
        np.testing.assert_array_equal(session.stylize(picture), whole)


def test_large_frames_of_a_network_that_changes_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(MAX_PIXELS, "cpu", 30_000)
    monkeypatch.setattr("stylize_video.styles.session.MAX_WHOLE_PIXELS", 40_000)
    session = StyleSession(Style.load(unpadded(tmp_path / "sized.onnx")), "cpu", input_range=1)
    assert session.stylize(frame(301, 403)).shape == (301, 403, 3)
    assert "sized.onnx changes the size of its pictures, so 403x301 is stylized at 231x172" in caplog.text


def test_tiles_that_do_not_meet_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every frame of a video costs a tile more."""
    monkeypatch.setitem(MAX_PIXELS, "cpu", 50_000)
    session = StyleSession(Style.load(unpadded(tmp_path / "sized.onnx")), "cpu", input_range=1)
    sizes: list[tuple[int, ...]] = []
    run = session._run

    def recording(part: np.ndarray) -> np.ndarray:
        sizes.append(part.shape)
        return run(part)

    monkeypatch.setattr(session, "_run", recording)
    for _ in range(3):
        session.stylize(frame(301, 403))
    assert [size == (301, 403, 3) for size in sizes] == [False, True, True, True]


@pytest.mark.parametrize("most", [50_000, MAX_PIXELS["cpu"]], ids=["in tiles", "whole"])
def test_a_style_of_ours_that_changes_sizes_is_told(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model(str(unpadded(tmp_path / "sized.onnx")))
    helper.set_model_props(model, {p.key: p.value for p in PHOTO.style.model.metadata_props})
    (tmp_path / "sized.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setitem(MAX_PIXELS, "cpu", most)
    session = StyleSession(Style.load(tmp_path / "sized.onnx"), "cpu")
    with pytest.raises(StyleError, match=r"sized\.onnx turned a \d+x\d+ frame into \d+x\d+; export it again"):
        session.stylize(frame(301, 403))


def test_a_graph_that_cannot_run_is_a_sentence(tmp_path: Path, invert_style: Path) -> None:
    shutil.copy(invert_style, tmp_path / "s.onnx")
    model = onnx.load_model(str(tmp_path / "s.onnx"))
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((3, 5, 3, 3), np.float32), model.graph.initializer[0].name)
    )
    (tmp_path / "s.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match=r"s\.onnx"):
        open_session(tmp_path / "s.onnx", device="cpu").stylize(frame())
