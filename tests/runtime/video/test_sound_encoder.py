"""Sound that is encoded anew is heard when it was."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stylize_video.jobs.pipeline import stylize_file
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video.video.edit import Edit
from stylize_video.video.sound_encoder import SoundEncoder
from support import MakeClip

RATE = 8000
CLICKS = (0.3, 0.7, 1.1)


@pytest.fixture(scope="module")
def invert(invert_style: Path) -> StyleSession:
    return StyleSession(Style.load(invert_style), "cpu")


def with_clicks(
    clip: Path,
    path: Path,
    codec: str = "pcm_alaw",
    *,
    channels: int = 1,
    start: float = 0,
    without: Sequence[float] = (),
) -> Path:
    """The pictures of a clip, and sound from ``start`` to 1.3 s, but for packets at the times ``without``."""
    seconds = np.arange(round(start * RATE), round(1.3 * RATE)) / RATE
    tone = np.zeros(len(seconds))
    for click in CLICKS:
        beside = np.abs(seconds - click) < 0.004
        tone[beside] = np.sin(2000 * 2 * np.pi * seconds[beside])
    with av.open(str(clip)) as plain, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(plain.streams.video[0])
        audio = target.add_stream(codec, rate=RATE)
        assert isinstance(audio, av.AudioStream)
        audio.codec_context.layout = "mono" if channels == 1 else f"{channels} channels"
        packets: list[av.Packet[Any]] = []
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                packets.append(packet)
        for first in range(0, len(tone), 800):
            samples = (tone[first : first + 800] * 20_000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples.repeat(channels)[None], "s16", audio.layout)
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = round(start * RATE) + first
            time = frame.pts / RATE
            if not any(time <= lacking < time + 0.1 for lacking in without):
                packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            target.mux(packet)
    return path


def clicks_of(path: Path) -> list[float]:
    """Seconds at which clicks are heard, beside the time of the first picture."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).time or 0
    with av.open(str(path)) as container:
        loud = []
        for frame in container.decode(audio=0):
            sound = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            assert frame.time is not None
            loud += [frame.time + at / frame.rate for at in np.flatnonzero(sound > 0.25)]
    starts = [at for before, at in zip([-1.0, *loud], loud, strict=False) if at - before > 0.1]
    return [start - first + 0.004 for start in starts]


def codec_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.name


@pytest.mark.parametrize("start", [0, 0.25])
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "aac"), (".webm", "opus"), (".mkv", "aac"), (".ts", "aac")]
)
def test_sound_that_is_encoded_anew_is_in_step(
    suffix: str,
    codec: str,
    start: float,
    make_clip: MakeClip,
    invert: StyleSession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.mov", start=start)
    result = stylize_file(source, tmp_path / f"out{suffix}", invert).output
    assert codec_of(result).removeprefix("lib") == codec
    assert clicks_of(result) == pytest.approx(CLICKS, abs=0.003)
    name, kind = (
        {"aac": "AAC", "opus": "Opus"}[codec],
        {".mkv": "matroska", ".ts": "mpegts"}.get(suffix, suffix[1:]),
    )
    assert caplog.messages == [f"pcm_alaw sound (stream 1) is encoded anew as {name} for {kind} files"]


def test_a_gap_is_silence(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.nut", without=(0.35, 0.45, 0.55, 0.65))
    result = stylize_file(source, tmp_path / "out.mkv", invert).output
    assert clicks_of(result)[:1] + clicks_of(result)[-1:] == pytest.approx([0.3, 1.1], abs=0.003)
    with av.open(str(result)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    assert np.diff(times).max() < 0.14  # 1024 samples of 8000


def test_a_gap_in_sound_of_eight_channels(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    """PyAV gives 7.1 a plane too many."""
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.nut", "pcm_s16le", channels=8, without=(0.45, 0.55))
    result = stylize_file(source, tmp_path / "out.ts", invert).output
    with av.open(str(result)) as container:
        assert container.streams.audio[0].channels == 8
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    assert np.diff(times).max() < 0.14
    assert len(times) > 10


def test_samples_that_are_no_numbers_are_silence(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FFmpeg's AAC encoder refuses them."""
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.mkv", "pcm_f32le")
    sound = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        second = [bytes(packet) for packet in container.demux(audio=0) if packet.size][5]
    at = sound.index(second)
    sound[at : at + 16] = np.array([np.nan, np.inf, -np.inf, 1e30], "<f4").tobytes()
    source.write_bytes(sound)
    result = stylize_file(source, tmp_path / "out.ts", invert).output
    assert clicks_of(result) == pytest.approx(CLICKS, abs=0.003)
    assert len(caplog.messages) == 1


def test_a_part_has_its_sound_to_the_end(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    """Encoders hold back 2048 samples, a quarter of a second here."""
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.mov")
    result = stylize_file(source, tmp_path / "out.mkv", invert, max_frames=24).output
    assert clicks_of(result) == pytest.approx(CLICKS[:2], abs=0.003)
    with av.open(str(result)) as container:
        last = list(container.decode(audio=0))[-1]
    assert last.time is not None
    assert last.time + last.samples / last.rate == pytest.approx(24 / 30, abs=0.13)


def test_what_is_true_of_the_source_alone_is_not_kept(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path
) -> None:
    """Its rate in bits, as mkvmerge notes it."""
    clip = make_clip(tmp_path / "clip.mp4", frames=4)
    with av.open(str(clip)) as plain, av.open(str(tmp_path / "in.mkv"), "w") as target:
        copies = [target.add_stream_from_template(stream) for stream in plain.streams]
        copies[1].metadata.update({"language": "deu", "title": "Original", "BPS": "128000"})
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    result = stylize_file(tmp_path / "in.mkv", tmp_path / "out.webm", invert).output
    with av.open(str(result)) as container:
        kept = container.streams.audio[0].metadata
    assert {key: kept.get(key) for key in ("language", "title", "BPS")} == {
        "language": "deu",
        "title": "Original",
        "BPS": None,
    }


def test_sound_whose_kind_changes_on_the_way(make_clip: MakeClip, tmp_path: Path) -> None:
    """Broadcasts go from stereo to 5.1 and back."""
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    output = tmp_path / "out.mka"
    with av.open(str(output), "w", format="matroska") as target:
        encoder = None
        for turn, channels in enumerate((1, 2, 1)):
            source = with_clicks(clip, tmp_path / "in.mov", "pcm_s16le", channels=channels)
            with av.open(str(source)) as container:
                stream = container.streams.audio[0]
                encoder = encoder or SoundEncoder.open(stream, target)
                assert encoder is not None
                for packet in container.demux(stream):
                    if packet.pts is not None:
                        packet.pts += round(turn * 1.3 * RATE)
                        target.mux(encoder.encode(packet))
        assert encoder is not None
        target.mux(encoder.flush())
    with av.open(str(output)) as container:
        sounds = [(float(frame.time or 0), np.abs(frame.to_ndarray()).max()) for frame in container.decode()]
    assert sounds[-1][0] == pytest.approx(3 * 1.3, abs=0.2)
    for click in (click + turn * 1.3 for click in CLICKS for turn in range(3)):
        assert max(loud for time, loud in sounds if time - 0.01 <= click <= time + 0.14) > 0.2


def test_sound_of_a_part(make_clip: MakeClip, invert: StyleSession, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.mov")
    result = stylize_file(source, tmp_path / "out.webm", invert, edit=Edit(start=0.5, end=1.2)).output
    assert clicks_of(result) == pytest.approx([0.2, 0.6], abs=0.003)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_all_usual_numbers_of_channels(suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    for channels in range(1, 9):
        source = with_clicks(clip, tmp_path / "in.mov", "pcm_s16le", channels=channels)
        output = tmp_path / f"out{suffix}"
        with av.open(str(source)) as container, av.open(str(output), "w") as target:
            encoder = SoundEncoder.open(container.streams.audio[0], target)
            assert encoder is not None
            for packet in container.demux(audio=0):
                if packet.dts is not None:
                    target.mux(encoder.encode(packet))
            target.mux(encoder.flush())
        with av.open(str(output)) as container:
            assert container.streams.audio[0].channels == channels


def test_too_many_channels_are_left_out(
    make_clip: MakeClip, invert: StyleSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    source = with_clicks(clip, tmp_path / "in.mov", channels=16, codec="pcm_s16le")
    stylize_file(source, tmp_path / "out.webm", invert, max_frames=2)
    assert caplog.messages == [
        "pcm_s16le sound (stream 1) cannot be kept in webm files; .mkv holds almost anything"
    ]


def test_a_packet_that_cannot_be_decoded_is_silence(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)
    ends = {}
    for damaged in (False, True):
        with (
            av.open(str(clip)) as source,
            av.open(str(tmp_path / "out.mka"), "w", format="matroska") as target,
        ):
            stream = source.streams.audio[0]
            encoder = SoundEncoder.open(stream, target)
            assert encoder is not None
            for number, packet in enumerate(source.demux(stream)):
                if damaged and 10 <= number < 20:
                    garbage: av.Packet[Any] = av.Packet(b"garbage" * 9)
                    garbage.pts, garbage.dts, garbage.time_base = packet.pts, packet.dts, packet.time_base
                    garbage.stream = stream
                    packet = garbage
                if packet.dts is not None:
                    target.mux(encoder.encode(packet))
            target.mux(encoder.flush())
        with av.open(str(tmp_path / "out.mka")) as container:
            frames = list(container.decode(audio=0))
            ends[damaged] = float(frames[-1].time or 0)
            quiet = [frame for frame in frames if np.abs(frame.to_ndarray()).max() < 0.01]
            assert len(quiet) > 5 if damaged else len(quiet) < 3
    assert ends[True] == pytest.approx(ends[False], abs=0.001)
