"""Hostile files are refused before anything large is allocated."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stylize_video import bounds
from stylize_video.bounds import MAX_PICTURE_PIXELS, MAX_SIDE
from stylize_video.errors import SourceError, StyleError
from stylize_video.styles.contract import MAX_METADATA, METADATA_PREFIX
from stylize_video.styles.graph_bounds import find_excess
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.source import VideoSource
from stylize_video_assets.catalog import bundled_styles
from support import Command, draw_picture

PICTURE: list[str | int | None] = ["N", 3, "H", "W"]


def graph_of(nodes: list[onnx.NodeProto], **values: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, PICTURE)],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, PICTURE)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def conv(pads: int) -> list[onnx.NodeProto]:
    return [helper.make_node("Conv", ["frames", "w"], ["stylized"], pads=[pads, 1, 1, 1])]


def after(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Nodes whose last result, ``huge``, is added to the picture."""
    return [*nodes, helper.make_node("Add", ["frames", "huge"], ["stylized"])]


W = np.zeros((3, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (graph_of(conv(2**20), w=W), "pads of a Conv"),
        (
            graph_of(
                after(helper.make_node("ConstantOfShape", ["size"], ["huge"])),
                size=np.array([2**20, 2**20], np.int64),
            ),
            "'huge' in it has 1,099,511,627,776 numbers",
        ),
        (
            graph_of(
                after(
                    helper.make_node("Shape", ["frames"], ["size"]),
                    helper.make_node("Mul", ["size", "many"], ["more"]),
                    helper.make_node("Expand", ["one", "more"], ["huge"]),
                ),
                many=np.array([9999], np.int64),
                one=np.ones(1, np.float32),
            ),
            "'huge' in it",
        ),
        (
            graph_of(
                after(helper.make_node("Tile", ["frames", "many"], ["huge"])),
                many=np.array([1, 1, 10**5, 10**5], np.int64),
            ),
            "'huge' in it",
        ),
    ],
)
def test_graphs_without_bounds(model: onnx.ModelProto, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match=rf"bomb\.onnx is no style that can be trusted: .*{reason}"):
        Style.load(path)


def test_loops_are_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["v", "v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, None),
        ],
    )
    model = graph_of(
        [helper.make_node("Loop", ["trips", "on", "frames"], ["stylized"], body=body)],
        trips=np.array(2**62, np.int64),
        on=np.array(True),
    )
    (tmp_path / "loop.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match="it has a Loop in it"):
        Style.load(tmp_path / "loop.onnx")


def test_functions_that_multiply_each_other_are_refused() -> None:
    """Each of 20 calls the one before four times: 4**20 nodes in a file of some kilobytes."""
    opset = helper.make_opsetid("", 18)
    functions, before = [], ("Identity", "")
    for index in range(20):
        calls = [helper.make_node(before[0], [f"v{n}"], [f"v{n + 1}"], domain=before[1]) for n in range(4)]
        name = f"f{index}"
        functions.append(
            helper.make_function(
                "local", name, ["v0"], ["v4"], calls, [opset, helper.make_opsetid("local", 1)]
            )
        )
        before = name, "local"
    model = graph_of([helper.make_node(before[0], ["frames"], ["stylized"], domain="local")])
    model.functions.extend(functions)
    assert find_excess(model, None) == "its functions call each other for more than 100,000 nodes"
    del model.functions[8:]
    model.graph.node[0].op_type = "f7"  # 65,536 nodes
    assert find_excess(model, None) is None


def test_weights_that_nothing_reads_take_no_memory(tmp_path: Path) -> None:
    unread = np.zeros(10_000, np.float32)
    model = graph_of([helper.make_node("Conv", ["frames", "w"], ["stylized"], pads=[1] * 4)], w=W, u=unread)
    (tmp_path / "style.onnx").write_bytes(model.SerializeToString())
    style = Style.load(tmp_path / "style.onnx")
    assert [tensor.name for tensor in style.model.graph.initializer] == ["w"]
    assert StyleSession(style, "cpu", input_range=1).stylize(draw_picture(0, 32, 32)).shape == (32, 32, 3)


def test_real_styles_are_far_from_the_limits() -> None:
    for bundled in bundled_styles():
        assert find_excess(onnx.load_model(str(bundled.path)), None) is None
    wide = graph_of(
        [
            helper.make_node("Conv", ["frames", "w"], ["a"], pads=[4] * 4),
            helper.make_node("Conv", ["a", "v"], ["stylized"]),
        ],
        w=np.zeros((256, 3, 9, 9), np.float32),
        v=np.zeros((3, 256, 1, 1), np.float32),
    )
    assert find_excess(wide, None) is None
    assert find_excess(wide, (720, 720)) is None
    assert "insists on pictures of 20000x20000" in str(find_excess(wide, (20_000, 20_000)))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("golden", '{"height": 100000, "width": 9, "frame": "", "stylized": ""}', "golden pair of 9x100000"),
        ("recipe", "[" * 100_000, "metadata is damaged"),
        ("thumbnail", "A" * MAX_METADATA, "characters about itself"),
    ],
)
def test_metadata_bombs(key: str, value: str, reason: str, invert_style: Path, tmp_path: Path) -> None:
    model = onnx.load_model(str(invert_style))
    for name, text in (("contract", "1"), (key, value)):
        model.metadata_props.add(key=METADATA_PREFIX + name, value=text)
    (tmp_path / "bomb.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match=reason):
        Style.load(tmp_path / "bomb.onnx")


def test_a_foreign_graph_that_returns_something_else(tmp_path: Path) -> None:
    """What only running shows: a graph whose result is empty."""
    model = graph_of(
        [helper.make_node("Slice", ["frames", "a", "a", "axes"], ["stylized"])],
        a=np.array([0], np.int64),
        axes=np.array([2], np.int64),
    )
    (tmp_path / "empty.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match=r"is no style"):
        StyleSession(Style.load(tmp_path / "empty.onnx"), "cpu").stylize(np.zeros((64, 64, 3), np.uint8))


def test_a_video_of_absurd_size(tmp_path: Path) -> None:
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = MAX_SIDE + 4, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        container.mux(stream.encode(av.VideoFrame(MAX_SIDE + 4, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="says that its pictures are 16388x16"):
        VideoSource(path)


@pytest.mark.parametrize("name", ["stylize-video", "stylize-eval"])
@pytest.mark.parametrize(("side", "depth"), [(65_000, 8), (17_000, 1)])
def test_a_picture_that_is_a_bomb(
    name: str, side: int, depth: int, command: Command, invert_style: Path, tmp_path: Path
) -> None:
    """Billions of pixels in some hundred kilobytes; and so few that OpenCV by itself would take them."""
    assert side**2 > MAX_PICTURE_PIXELS

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", side, side, depth, 2 if depth == 8 else 0, 0, 0, 0)
    content = zlib.compress(bytes(side * (1 + -(-side * depth // 8)) if depth == 1 else 10**8), 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    done = command(name, tmp_path / "bomb.png", "-s", invert_style)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("has more than 268 million pixels")
    assert len(done.stderr.strip().splitlines()) == 1


def test_more_memory_than_there_is_fails_in_one_sentence(tmp_path: Path) -> None:
    """What no look at a graph can tell is stopped by the process's own limit."""
    program = (
        "import resource\n"
        "from stylize_video import bounds\n"
        "bounds._installed_memory = lambda: 600 * 2**20\n"
        "bounds.limit_memory()\n"
        "import numpy as np\n"
        "try:\n    np.ones(2**30, np.uint8)\nexcept MemoryError:\n    print('stopped')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="containers' limits are Linux's")
@pytest.mark.parametrize(("told", "limit"), [("4096", 4096), ("max", None), (None, None), (str(2**62), None)])
def test_a_container_has_its_share_of_the_memory(
    told: str | None, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_CONTAINER_LIMITS", (tmp_path / "missing", tmp_path / "limit"))
    installed = bounds._installed_memory()
    if told:
        (tmp_path / "limit").write_text(told)
    assert bounds._installed_memory() == (limit or installed)


def test_escape_sequences_never_reach_the_terminal(
    command_here: Command, invert_style: Path, clip: Path, tmp_path: Path
) -> None:
    """In names of files, in a style's metadata, and in what a warning quotes."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    source = tmp_path / f"a{evil}.mp4"
    source.write_bytes(clip.read_bytes())
    done = command_here(
        "stylize-video", source, "-s", invert_style, "-o", tmp_path / "o.mp4", "--max-frames", 2
    )
    assert done.returncode == 0, done.stderr
    missing = command_here("stylize-video", f"{evil}.mp4")
    model = onnx.load_model(str(invert_style))
    for name, text in (("contract", "1"), ("name", evil), ("licence", evil)):
        model.metadata_props.add(key=METADATA_PREFIX + name, value=text)
    (tmp_path / "s.onnx").write_bytes(model.SerializeToString())
    shown = command_here("export-onnx", "--show", tmp_path / "s.onnx")
    assert shown.returncode == 0, shown.stderr
    for output in (done.stderr, missing.stderr, shown.stdout):
        assert "\\x1b]0;owned\\x07\\x1b[2J\\u202e" in output
        assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_an_8k_picture(command: Command, invert_style: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "8k.png"), cv2.resize(draw_picture(0, 768, 432), (7680, 4320)))
    done = command("stylize-video", tmp_path / "8k.png", "-s", invert_style, "-o", tmp_path / "o.png")
    assert done.returncode == 0, done.stderr
    got = cv2.imread(str(tmp_path / "o.png"))
    assert got is not None
    assert got.shape == (4320, 7680, 3)
