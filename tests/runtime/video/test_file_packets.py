"""A file is read from where a part begins, or from its start."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import pytest

from stylize_video.video.file_packets import FilePackets
from stylize_video.video.info import Window
from stylize_video.video.probe import probe
from support import MakeClip


def test_where_no_seeking_works_all_is_read(clip: Path) -> None:
    class Unseekable:
        closed = False

        def seek(self, time: int) -> None:
            raise av.error.PermissionError(1, "Operation not permitted")

        def close(self) -> None:
            self.closed = True

    packets = FilePackets(clip, Window())
    packets.close()
    packets.container = unseekable = Unseekable()  # type: ignore[assignment]
    packets._seek(av.time_base)
    assert unseekable.closed
    packets.want({1})
    first = packets.next()
    assert first is not None
    assert first.stream.type == "audio"
    assert (first.pts or 0) <= 0
    packets.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_little_is_read_behind_a_part(suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
    """Of a long recording the rest may be a hundred gigabytes."""
    source = make_clip(tmp_path / f"in{suffix}", frames=31, pts=[*range(0, 901, 30)])
    facts = probe(str(source))
    start = facts.start_pts * facts.time_base
    packets = FilePackets(source, Window(end=start + 1))
    packets.want({1})
    while packets.next():
        pass
    behind = next(p for p in packets.container.demux(audio=0) if p.pts is not None)
    packets.close()
    assert behind.pts is not None
    assert 11 < behind.pts * behind.time_base - start < 13
