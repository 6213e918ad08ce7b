"""Of a journal that ends anywhere, what came before can be used."""

from __future__ import annotations

import io

from stylize_video.resuming.journal_format import (
    ENCODER,
    FRAME,
    JOB,
    MAGIC,
    PACKET,
    PART,
    Record,
    parse,
    read_contents,
)

RECORDS = [
    Record(JOB, content=b'{"source": "a"}'),
    Record(ENCODER, content=b"header"),
    Record(FRAME, 0),
    Record(FRAME, 1),
    Record(FRAME, 2),
    Record(PACKET, 0, -1, 1, True, b"key"),
    Record(PACKET, 2, 0, 1, False, b"ahead of its time"),
    Record(PACKET, 1, 1, 1, False, b"between"),
    Record(PART, content=b"a"),
    Record(PART, content=b"b"),
    Record(PART, content=b"a"),
]
FILE = MAGIC + b"".join(record.to_bytes() for record in RECORDS)


def test_every_record_comes_back() -> None:
    read = list(parse(io.BytesIO(FILE), contents=True))
    assert [record for record, _ in read] == RECORDS
    assert read[-1][1] == len(FILE)
    skipped = [record.content for record, _ in parse(io.BytesIO(FILE), contents=False)]
    assert skipped == [b"" if record.kind == PACKET else record.content for record in RECORDS]


def test_a_journal_ends_before_what_is_cut_off_or_damaged() -> None:
    ends = [offset for _, offset in parse(io.BytesIO(FILE), contents=True)]
    for place in range(len(MAGIC), len(FILE)):
        whole = sum(end <= place for end in ends)
        damaged = bytearray(FILE)
        damaged[place] ^= 0x55
        for content in (FILE[:place], damaged):
            assert len(list(parse(io.BytesIO(content), contents=True))) == whole


def test_frames_are_whole_where_no_packet_is_ahead_of_its_time() -> None:
    def frames(count: int) -> int:
        content = MAGIC + b"".join(record.to_bytes() for record in RECORDS[:count])
        return read_contents(io.BytesIO(content)).frames

    assert [frames(count) for count in range(len(RECORDS) + 1)] == [0] * 6 + [1, 1] + [3] * 4
    found = read_contents(io.BytesIO(FILE))
    assert (found.job, found.extradata, found.last_pts) == ({"source": "a"}, b"header", 2)
    assert found.parts == [b"a", b"b"]
