"""Styles are found, read and refused with a reason."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stylize_video.errors import StyleError
from stylize_video.styles.contract import METADATA_PREFIX
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style, find_variants, style_name
from stylize_video.styles.variants import open_session
from stylize_video_assets.catalog import bundled_styles
from support import draw_picture


@pytest.mark.parametrize("name", ["photo", "photo.onnx"])
def test_bundled_styles_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_style(name).name == "photo.onnx"


def test_a_folder_of_the_same_name_hides_no_bundled_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_style("photo").name == "photo.onnx"


def test_a_path_wins_over_a_bundled_name(
    invert_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(invert_style, tmp_path / "photo.onnx")
    monkeypatch.chdir(tmp_path)
    assert Style.load("photo.onnx").metadata is None


def test_every_bundled_style_says_what_it_is() -> None:
    assert bundled_styles()
    for bundled in bundled_styles():
        for path in find_variants(bundled.path).values():
            metadata = Style.load(path).metadata
            assert metadata is not None
            assert metadata.name
            assert metadata.licence
            assert metadata.recipe["features"]
            assert metadata.golden
            assert metadata.thumbnail
            assert path.stat().st_size <= 2 * 2**20


def test_an_unknown_name_lists_the_styles() -> None:
    with pytest.raises(StyleError, match=r"no style 'foto'.*photo"):
        find_style("foto")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match="is a folder"):
        Style.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.onnx", "a"), ("a.int8.onnx", "a"), ("a.b.onnx", "a.b"), ("night.fp16.onnx", "night")],
)
def test_style_names(file: str, name: str) -> None:
    assert style_name(Path(file)) == name


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", b"\x00" * 100, b"\x08\x07"])
def test_files_that_are_no_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(StyleError, match=r"broken\.onnx"):
        Style.load(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(data: st.DataObject, invert_style: Path, tmp_path: Path) -> None:
    content = bytearray(invert_style.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated.onnx"
    path.write_bytes(content)
    with contextlib.suppress(StyleError):  # a sentence; any other exception fails the test
        Style.load(path)


def make_model(
    inputs: list[tuple[str, int, list[str | int | None]]],
    outputs: list[tuple[str, int, list[str | int | None]]],
) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", [inputs[0][0]], [name]) for name, *_ in outputs]
    pair = (inputs, outputs)
    sources, results = ([helper.make_tensor_value_info(*v) for v in values] for values in pair)
    graph = helper.make_graph(nodes, "graph", sources, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


PICTURE: list[str | int | None] = ["N", 3, "H", "W"]
F = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ([("a", F, PICTURE), ("b", F, PICTURE)], [("y", F, PICTURE)], "it has 2 inputs and 1 output;"),
        ([("a", F, PICTURE)], [("y", F, PICTURE), ("z", F, PICTURE)], "it has 1 input and 2 outputs;"),
        ([("a", F, [1, 1, "H", "W"])], [("y", F, [1, 1, "H", "W"])], r"\[1, 1, H, W\]"),
        ([("a", F, PICTURE)], [("y", F, [1, 1000])], r"\[1, 1000\]"),
        ([("a", F, ["N", "H", "W", 3])], [("y", F, ["N", "H", "W", 3])], r"\[N, H, W, 3\], not \[N, 3,"),
        ([("a", TensorProto.UINT8, PICTURE)], [("y", TensorProto.UINT8, PICTURE)], "UINT8"),
        ([("a", 29, PICTURE)], [("y", F, PICTURE)], "of no known type"),
        ([("a", F, [8, 3, "H", "W"])], [("y", F, [8, 3, "H", "W"])], r"\[8, 3, H, W\]"),
        ([("a", F, [1, 3, 2**20, 2**20])], [("y", F, [1, 3, 2**20, 2**20])], "1048576x1048576"),
        ([("a", F, [1, 3, 64, "W"])], [("y", F, [1, 3, 64, "W"])], "fixes one side"),
        ([("a", F, [1, 3, 8, 8])], [("y", F, [1, 3, 8, 8])], "pictures of 8x8, too small"),
    ],
)
def test_graphs_that_are_no_style(
    inputs: list[tuple[str, int, list[str | int | None]]],
    outputs: list[tuple[str, int, list[str | int | None]]],
    reason: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(make_model(inputs, outputs).SerializeToString())
    with pytest.raises(StyleError, match=reason):
        Style.load(path)


@pytest.mark.parametrize("free", [-1, 0])
@pytest.mark.parametrize("batch", [-1, 0, 1, "N"])
def test_sides_below_one_are_free(free: int, batch: int | str, tmp_path: Path) -> None:
    shape: list[str | int | None] = [batch, 3, free, free]
    model = make_model([("a", F, shape)], [("y", F, shape)])
    (tmp_path / "paddle.onnx").write_bytes(model.SerializeToString())
    session = open_session(tmp_path / "paddle.onnx", device="cpu")
    assert session.style.fixed_size is None
    picture = draw_picture(0, 40, 24)
    np.testing.assert_array_equal(session.stylize(picture), picture)


@pytest.mark.parametrize("channels", [3, 1])
def test_channels_that_are_open_show_where_the_graph_runs(channels: int, tmp_path: Path) -> None:
    """Many converters say nothing of sides."""
    model = make_model([("a", F, [None] * 4)], [("y", F, [None] * 4)])
    kernel = np.eye(channels, dtype=np.float32)[..., None, None]
    model.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "w"))
    model.graph.node[0].CopyFrom(helper.make_node("Conv", ["a", "w"], ["y"]))
    (tmp_path / "open.onnx").write_bytes(model.SerializeToString())
    style = Style.load(tmp_path / "open.onnx")
    if channels == 1:
        with pytest.raises(StyleError, match=r"open\.onnx cannot run"):
            StyleSession(style, "cpu")
        return
    picture = draw_picture(0, 40, 24)
    np.testing.assert_array_equal(StyleSession(style, "cpu").stylize(picture), picture)


def test_a_style_that_changes_nothing(tmp_path: Path) -> None:
    """Its output is its input, with no node between."""
    model = make_model([("a", F, PICTURE)], [("a", F, PICTURE)])
    del model.graph.node[:]
    (tmp_path / "nothing.onnx").write_bytes(model.SerializeToString())
    picture = draw_picture(0, 40, 24)
    session = StyleSession(Style.load(tmp_path / "nothing.onnx"), "cpu", input_range=1)
    np.testing.assert_array_equal(session.stylize(picture), picture)


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=F, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def initializer(tensor: TensorProto) -> onnx.ModelProto:
    model = make_model([("a", F, PICTURE)], [("y", F, PICTURE)])
    model.graph.initializer.append(tensor)
    return model


def constant_in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    model = make_model([("a", F, PICTURE)], [("y", F, PICTURE)])
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Identity", ["x"], ["z"]),
    ]
    model.functions.append(
        helper.make_function("own", "Hidden", ["x"], ["z"], nodes, [helper.make_opsetid("", 18)])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Hidden", "own"
    return model


def constant_in_a_branch(tensor: TensorProto) -> onnx.ModelProto:
    model = make_model([("a", F, PICTURE)], [("y", F, PICTURE)])
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    result = helper.make_tensor_value_info("w", F, [3])
    branch = helper.make_graph([constant], "branch", [], [result])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["i"], then_branch=branch, else_branch=branch))
    return model


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "secret.bin"])
@pytest.mark.parametrize("hide", [initializer, constant_in_a_function, constant_in_a_branch])
def test_external_data_is_never_followed(
    hide: Callable[[TensorProto], onnx.ModelProto], location: str, tmp_path: Path
) -> None:
    folder = tmp_path / "styles"
    folder.mkdir()
    for secret in (tmp_path / "secret.bin", folder / "secret.bin"):
        secret.write_bytes(b"\0" * 12)
    (folder / "evil.onnx").write_bytes(hide(external(location)).SerializeToString())
    with pytest.raises(StyleError, match="no external data"):
        Style.load(folder / "evil.onnx")


@pytest.mark.parametrize("dims", [[2**40, 2**20], [2**62, 8], [-5]])
def test_tensors_of_impossible_sizes_are_refused_before_memory_is_asked_for(
    dims: list[int], tmp_path: Path
) -> None:
    model = initializer(TensorProto(name="w", data_type=F, dims=dims, raw_data=b"\0" * 12))
    (tmp_path / "huge.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match=r"huge\.onnx is not a valid ONNX model"):
        Style.load(tmp_path / "huge.onnx")


def test_a_newer_contract_asks_for_an_upgrade(invert_style: Path, tmp_path: Path) -> None:
    model = onnx.load_model(str(invert_style))
    model.metadata_props.add(key=METADATA_PREFIX + "contract", value="99")
    (tmp_path / "new.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match="upgrade stylize-video"):
        Style.load(tmp_path / "new.onnx")


def test_damaged_metadata_is_a_sentence(invert_style: Path, tmp_path: Path) -> None:
    model = onnx.load_model(str(invert_style))
    model.metadata_props.add(key=METADATA_PREFIX + "contract", value="one")
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StyleError, match="metadata is damaged"):
        Style.load(tmp_path / "odd.onnx")
