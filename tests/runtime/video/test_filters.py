"""A chain of filters gives as many frames as it takes, whatever their shape."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from stylize_video.errors import SourceError
from stylize_video.video.filters import Filter, FilterChain, deinterlacing, ten_bits, tone_mapping
from support import draw_picture, file_size_limit


def frames_of(sizes: list[tuple[int, int]], *, pixels: str = "yuv420p") -> Iterator[VideoFrame]:
    """Frames of so many widths and heights."""
    for index, (width, height) in enumerate(sizes):
        frame = av.VideoFrame.from_ndarray(draw_picture(index, width, height), format="rgb24")
        frame = frame.reformat(format=pixels)
        frame.pts, frame.time_base = 3 * index, Fraction(1, 90)
        yield frame


def filtered(chain: FilterChain, frames: Iterator[VideoFrame]) -> list[VideoFrame]:
    return [*(done for frame in frames for done in chain.apply(frame)), *chain.flush()]


@pytest.mark.parametrize("filter_", [deinterlacing, ten_bits])
def test_frames_keep_their_number_and_times_where_their_size_changes(filter_: Filter) -> None:
    """Deinterlacing holds one back, which must not be lost where the chain is built anew."""
    sizes = [(96, 64)] * 3 + [(64, 96)] * 2 + [(96, 64)]
    done = filtered(FilterChain([filter_]), frames_of(sizes))
    assert [(frame.width, frame.height) for frame in done] == sizes
    assert [frame.time for frame in done] == pytest.approx([index / 30 for index in range(6)])


def test_a_chain_goes_on_after_its_end() -> None:
    chain = FilterChain([deinterlacing])
    assert [len(filtered(chain, frames_of([(96, 64)] * count))) for count in (3, 1, 0, 2)] == [3, 1, 0, 2]


def test_progressive_frames_are_left_as_they_are() -> None:
    before = list(frames_of([(96, 64)] * 3))
    done = filtered(FilterChain([deinterlacing]), iter(before))
    for one, other in zip(before, done, strict=True):
        np.testing.assert_array_equal(one.to_ndarray(), other.to_ndarray())


def test_filters_come_one_after_the_other() -> None:
    """The table of a tone mapping is looked up in the RGB that comes before it."""
    chain = FilterChain([ten_bits, tone_mapping(16)])
    levels = np.linspace(0, 255, 96, dtype=np.uint8)
    grey = av.VideoFrame.from_ndarray(np.tile(levels[:, None], (64, 1, 3)), format="rgb24")
    grey.pts, grey.time_base = 0, Fraction(1, 30)
    (done,) = filtered(chain, iter([grey]))
    assert done.format.name == "gbrp10le"
    green, *_ = done.to_ndarray()[0].astype(int).T
    assert green[0] == 0
    assert (np.diff(green) >= 0).all()
    assert green[-1] > 900


@pytest.mark.parametrize("problem", ["missing", "full"])
def test_no_room_for_temporary_files_is_a_sentence(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone" if problem == "missing" else tmp_path))
    chain = FilterChain([ten_bits, tone_mapping(16)])
    with file_size_limit(200_000), pytest.raises(SourceError, match="environment variable TMPDIR"):
        filtered(chain, frames_of([(96, 64)]))
    assert not list(tmp_path.iterdir())
