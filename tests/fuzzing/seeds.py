"""The files that damage is done to: small ones of many kinds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from media import HEVC10, Coding, write_video
from stylize_video_assets.catalog import bundled_styles
from support import draw_picture, save_style, write_clip

_KINDS = (
    ("a.mp4", "libx264", "yuv420p"),
    ("b.mkv", "libx265", "yuv420p"),
    ("c.webm", "libvpx-vp9", "yuv420p"),
    ("d.avi", "mpeg4", "yuv420p"),
    ("e.mkv", "ffv1", "yuv444p"),
    ("f.ts", "mpeg2video", "yuv420p"),
    ("g.avi", "mjpeg", "yuvj420p"),
    ("h.mov", "prores_ks", "yuv422p10le"),
    ("i.gif", "gif", "rgb8"),
    ("j.mp4", "libsvtav1", "yuv420p"),
)


def video_seeds(folder: Path) -> Path:
    """Videos of eight frames, 64x48, of many codecs and containers; the first has sound.

    The last two go through filters: HDR and interlaced.
    """
    write_clip(folder / "0.mp4", frames=8, width=64, height=48)
    for name, codec, pixels in _KINDS:
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            stream.codec_context.time_base = Fraction(1, 25)
            stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            for index in range(8):
                frame = av.VideoFrame.from_ndarray(draw_picture(index, 64, 48), format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame.reformat(format=pixels)))
            container.mux(stream.encode(None))
    moving = [draw_picture(index, 64, 48) / 255 for index in range(8)]
    hdr = replace(HEVC10, colorspace=9, color_primaries=9, color_trc=16)
    write_video(folder / "k.mp4", moving, hdr)
    write_video(folder / "l.ts", moving, Coding(options={"x264-params": "bff=1"}))
    return folder


def style_seeds(folder: Path) -> Path:
    """Styles: one convolution, an exported network with metadata, its int8 variant, a foreign one."""
    save_style(folder / "a.onnx", np.full((3, 3, 3, 3), 0.04, np.float32))
    style = bundled_styles()[0].path
    for name in (style.name, style.name.replace(".onnx", ".int8.onnx")):
        if style.with_name(name).is_file():
            shutil.copy(style.with_name(name), folder / name)
    onnx.save_model(_foreign(), str(folder / "z.onnx"))
    return folder


def _foreign() -> onnx.ModelProto:
    """Like public styles: fixed size, 0..255, old operators, shapes that are computed on the way."""
    values: dict[str, np.ndarray] = {
        "w": np.full((3, 3, 3, 3), 0.04, np.float32),
        "s": np.ones(3, np.float32),
        "b": np.zeros(3, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes = [
        helper.make_node("Pad", ["in"], ["p"], mode="reflect", pads=[0, 0, 1, 1, 0, 0, 1, 1]),
        helper.make_node("Conv", ["p", "w"], ["c"]),
        helper.make_node("InstanceNormalization", ["c", "s", "b"], ["n"], epsilon=1e-5),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Upsample", ["r", "scales"], ["u"], mode="nearest"),
        helper.make_node("Slice", ["u"], ["cut"], axes=[2, 3], starts=[0, 0], ends=[32, 48]),
        helper.make_node("Shape", ["cut"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Expand", ["zeros", "size"], ["wide"]),
        helper.make_node("Add", ["cut", "wide"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 32, 48])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 32, 48])],
        [numpy_helper.from_array(v, k) for k, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
