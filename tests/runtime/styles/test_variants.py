"""Of a style's files the one that is named runs, or the fastest that is right."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from stylize_video.bench.baseline import transformer_net
from stylize_video.errors import StyleError
from stylize_video.styles.contract import GoldenPair, StyleMetadata
from stylize_video.styles.golden import golden_problem
from stylize_video.styles.session import StyleSession
from stylize_video.styles.variants import cpu_seconds, open_session, parse_precision
from support import draw_picture


def frame(height: int = 48, width: int = 64) -> np.ndarray:
    return draw_picture(3, width, height)[..., ::-1]


def write_variant(folder: Path, source: Path, *, precision: str, weights: str = "", name: str = "s") -> None:
    model = onnx.load_model(str(source))
    golden = frame(16, 16)[..., ::-1].copy()
    metadata = StyleMetadata(
        name=name,
        precision=parse_precision(precision),  # type: ignore[arg-type]  # never auto here
        checkpoint_sha256=weights,
        golden=GoldenPair(golden, 255 - golden),
    )
    onnx.helper.set_model_props(model, metadata.to_props())
    suffix = "" if precision == "fp32" else f".{precision}"
    (folder / f"s{suffix}.onnx").write_bytes(model.SerializeToString())


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[float]]]:
    """What measurements will give, in int8 and fp32, one after the other; none is remembered yet."""
    answers: list[list[float]] = []
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("stylize_video.styles.variants.cpu_seconds", lambda _: answers.pop(0))
    yield answers
    assert not answers


@pytest.mark.parametrize(
    ("seconds", "right", "expected"),
    [
        ([0.5, 1.0], True, "int8"),
        ([0.97, 1.0], True, "fp32"),
        ([2.0, 1.0], True, "fp32"),
        ([0.005, 0.01], True, "int8"),
        ([0.0097, 0.01], True, "fp32"),
        ([], False, "fp32"),  # wrong pixels are not worth measuring
    ],
)
def test_auto_takes_int8_only_where_it_is_faster_and_right(
    seconds: list[float],
    right: bool,
    expected: str,
    invert_style: Path,
    swap_style: Path,
    tmp_path: Path,
    measured: list[list[float]],
) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    write_variant(tmp_path, invert_style if right else swap_style, precision="int8")
    measured += [seconds] if seconds else []
    for _ in range(2):  # measured the first time, remembered the second
        assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == expected
    if seconds:
        measured.append(seconds)
        write_variant(tmp_path, invert_style, precision="int8", name="another")
        assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == expected


def test_what_was_remembered_never_hides_wrong_pixels(
    invert_style: Path, tmp_path: Path, measured: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in ("fp32", "int8"):
        write_variant(tmp_path, invert_style, precision=precision)
    measured.append([0.5, 1.0])
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "int8"
    monkeypatch.setattr("stylize_video.styles.variants.golden_problem", lambda _: "other pixels")
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "fp32"


def test_a_variant_with_wrong_pixels_is_named(
    invert_style: Path, swap_style: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    write_variant(tmp_path, swap_style, precision="int8")
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "fp32"
    (message,) = caplog.messages
    assert message.startswith("s.int8.onnx is not used: ")
    assert "gives other pixels than when it was exported" in message


def test_variants_of_an_earlier_training_are_not_used(
    invert_style: Path, tmp_path: Path, measured: list[list[float]], caplog: pytest.LogCaptureFixture
) -> None:
    write_variant(tmp_path, invert_style, precision="int8", weights="before")
    write_variant(tmp_path, invert_style, precision="fp32", weights="now")
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "fp32"
    assert "s.int8.onnx is of another training" in caplog.text
    write_variant(tmp_path, invert_style, precision="int8", weights="now")
    measured.append([0.5, 1.0])
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "int8"


def test_a_damaged_variant_takes_nothing_from_the_style(
    invert_style: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    for precision in ("int8", "fp16"):
        (tmp_path / f"s.{precision}.onnx").write_bytes(b"damaged")
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "fp32"
    assert [message.split(": ")[0] for message in caplog.messages] == ["s.int8.onnx is not used"]
    assert open_session(tmp_path / "s.onnx", device="cpu", precision="fp32").style.precision == "fp32"
    with pytest.raises(StyleError, match=r"s\.int8\.onnx is not an ONNX file, or is damaged"):
        open_session(tmp_path / "s.onnx", device="cpu", precision="int8")


def test_a_variant_that_cannot_run_takes_nothing_from_the_style(
    invert_style: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    write_variant(tmp_path, invert_style, precision="int8")
    model = onnx.load_model(str(tmp_path / "s.int8.onnx"))
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((3, 5, 3, 3), np.float32), model.graph.initializer[0].name)
    )
    (tmp_path / "s.int8.onnx").write_bytes(model.SerializeToString())
    assert open_session(tmp_path / "s.onnx", device="cpu").style.precision == "fp32"
    assert "s.int8.onnx is not used: " in caplog.text


def test_only_files_that_may_be_used_are_checked(invert_style: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "fp16", "int8"):
        write_variant(tmp_path, invert_style, precision=precision)
    checked: set[str] = set()

    def check(path: Path) -> None:
        checked.add(path.name)
        if path.name == "s.int8.onnx":
            raise StyleError("it crashes")

    assert open_session(tmp_path / "s.onnx", device="cpu", check=check).style.precision == "fp32"
    assert checked == {"s.onnx", "s.int8.onnx"}
    checked.clear()
    open_session(tmp_path / "s.onnx", device="cpu", precision="fp16", check=check)
    assert checked == {"s.fp16.onnx"}


def test_the_file_that_is_named_is_the_file_that_runs(
    invert_style: Path, swap_style: Path, tmp_path: Path
) -> None:
    """Files of other makers may be called anything."""
    shutil.copy(swap_style, tmp_path / "s.onnx")
    shutil.copy(invert_style, tmp_path / "s.fp16.onnx")
    for precision in ("auto", "fp32", "fp16"):
        session = open_session(
            tmp_path / "s.fp16.onnx", device="cpu", precision=parse_precision(precision), input_range=1
        )
        np.testing.assert_array_equal(session.stylize(frame()), 255 - frame())


def test_a_variant_of_ours_is_no_fp32(invert_style: Path, tmp_path: Path) -> None:
    write_variant(tmp_path, invert_style, precision="int8")
    with pytest.raises(StyleError, match="no fp32 variant; it has int8"):
        open_session(tmp_path / "s.int8.onnx", device="cpu", precision="fp32")
    write_variant(tmp_path, invert_style, precision="fp32")
    assert open_session(tmp_path / "s.int8.onnx", device="cpu", precision="fp32").style.path.name == "s.onnx"


def test_measuring_tells_slow_from_fast() -> None:
    wide, narrow = (StyleSession(transformer_net(width=w), "cpu", input_range=1) for w in (16, 2))
    slow, fast = cpu_seconds([wide, narrow])
    assert slow > 2 * fast > 0


def test_a_precision_can_be_insisted_on(invert_style: Path, tmp_path: Path) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    write_variant(tmp_path, invert_style, precision="int8")
    assert open_session(tmp_path / "s.onnx", device="cpu", precision="int8").style.precision == "int8"
    assert open_session(tmp_path / "s.int8.onnx", device="cpu").style.precision == "int8"
    with pytest.raises(StyleError, match="no fp16 variant; it has fp32, int8"):
        open_session(tmp_path / "s.onnx", device="cpu", precision="fp16")
    with pytest.raises(StyleError, match="unknown precision 'int4'"):
        parse_precision("int4")


def test_golden_pairs_tell_right_from_wrong(invert_style: Path, swap_style: Path, tmp_path: Path) -> None:
    write_variant(tmp_path, invert_style, precision="fp32")
    write_variant(tmp_path, swap_style, precision="int8")
    assert golden_problem(open_session(tmp_path / "s.onnx", device="cpu", precision="fp32")) is None
    wrong = golden_problem(open_session(tmp_path / "s.int8.onnx", device="cpu"))
    assert wrong
    assert "other pixels" in wrong
