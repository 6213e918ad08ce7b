"""What runs against what."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stylize_video.bench.contenders import find_contenders
from stylize_video.errors import StyleError
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import find_style, find_variants


def test_contenders() -> None:
    path = find_style("photo")
    every = [c.name for c in find_contenders(path, device="cpu", precision=None)]
    assert every == ["photo"] * len(find_variants(path))
    sides = find_contenders(path, device="cpu", precision="auto", against=path, baseline=True, openvino=True)
    names = [c.name for c in sides]
    assert names[:3] == ["photo", "photo (against)", "TransformerNet-32"]
    assert "photo in OpenVINO" in names
    with pytest.raises(StyleError, match="no style 'none'"):
        list(find_contenders(path, device="cpu", precision="auto", against=Path("none")))


def test_styles_of_any_name_and_of_no_variants(invert_style: Path, tmp_path: Path) -> None:
    odd = tmp_path / "Photo.ONNX"
    shutil.copy(invert_style, odd)
    (only,) = find_contenders(odd, device="cpu", precision=None)
    session = only.open(1)
    assert isinstance(session, StyleSession)
    assert session.style.path == odd
    names = [c.name for c in find_contenders(odd, device="cpu", precision="auto", openvino=True)]
    assert names == ["Photo", "Photo in OpenVINO"]


def test_contenders_are_tried_out_elsewhere_first(
    invert_style: Path, swap_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr("stylize_video.styles.guard._try_one", tried.append)
    monkeypatch.setattr("stylize_video.styles.guard._sound_here", set())
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(invert_style))  # a file: nothing can be remembered there
    mine = Path(shutil.copy(invert_style, tmp_path / "mine.onnx"))
    other = Path(shutil.copy(swap_style, tmp_path / "other.onnx"))
    for contender in find_contenders(mine, device="cpu", precision="auto", against=other):
        contender.open(1)
        contender.open(1)
    assert tried == [mine, other]
