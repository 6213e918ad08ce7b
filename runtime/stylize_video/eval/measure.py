"""Follow stylized sequences beside their source, and sum up how steady each one is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stylize_video.cuts import CutDetector
from stylize_video.errors import SourceError
from stylize_video.eval.metrics import noise_gain, sharpness, warping_error
from stylize_video.eval.motion import Motion, MotionEstimator
from stylize_video.eval.trace import Trace
from stylize_video.frame import Frame
from stylize_video.luma import small_luma
from stylize_video.network import Network
from stylize_video.source import VideoSource
from stylize_video.stylizer import Stylizer

IDENTITY = "source"
"""The row of the unchanged source: no style can be expected to be steadier than what it shows."""

LONG_RANGE = 5
"""Frames between the two of a long-range pair."""

_STILLS = (0, 60, 120)
"""Frames whose noise gain is measured; of shorter videos the first of them."""


@dataclass(frozen=True)
class Steadiness:
    """How steady one sequence of stylized frames is. Errors are of pixels from 0 to 1.

    Attributes:
        warping_error: E_warp of Lai et al. (2018): the mean over pairs of successive frames
            of :func:`~stylize_video.eval.metrics.warping_error`; None where no two frames
            show the same.
        long_range_error: the same of frames :data:`LONG_RANGE` apart; None where every shot
            is shorter.
        sharpness: mean over frames; see :func:`~stylize_video.eval.metrics.sharpness`.
        noise_gain: see :func:`~stylize_video.eval.metrics.noise_gain`; None for a finished
            video, which cannot be stylized again.
        trace: the error of each pair of successive frames.
    """

    warping_error: float | None
    long_range_error: float | None
    sharpness: float
    noise_gain: float | None
    trace: Trace


@dataclass(frozen=True)
class Candidate:
    """A style to measure: a network, smoothed or not. Candidates may share a network."""

    name: str
    network: Network
    smooth: float = 0.0

    def stylizer(self) -> Stylizer:
        return Stylizer(self.network, smooth=self.smooth)


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one video; pairs of frames with a cut between them do not count."""

    width: int
    height: int
    frames: int
    cuts: Sequence[int]
    rows: Mapping[str, Steadiness]


def measure_style(
    source: Path, network: Network, *, smooth: float = 0.0, max_frames: int | None = None
) -> Steadiness:
    """How steady one style is on one video.

    Raises:
        StylizeError: the video cannot be read or has one frame only, or the style fails.
    """
    evaluation = evaluate(source, [Candidate("style", network, smooth)], max_frames=max_frames)
    return evaluation.rows["style"]


def evaluate(
    source: Path,
    candidates: Sequence[Candidate] = (),
    *,
    stylized: Path | None = None,
    max_frames: int | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measure styles, and a stylized video, on the motion of one source.

    Memory does not depend on the video's length.

    Args:
        source: the video whose motion counts.
        candidates: stylized as it goes on, from names that differ.
        stylized: a finished video, frame for frame beside the source; the shorter one ends.
        max_frames: stop after so many.
        on_frame: called after each frame.

    Raises:
        StylizeError: a video cannot be read, has one frame only, or another size; a style fails.
    """
    stylizers = {candidate.name: candidate.stylizer() for candidate in candidates}
    stills: list[Frame] = []

    def outputs() -> Iterator[tuple[Frame, Mapping[str, Frame]]]:
        with ExitStack() as opened:
            frames = (frame.image for frame in opened.enter_context(VideoSource(source)))
            finished = None
            if stylized is not None:
                finished = (frame.image for frame in opened.enter_context(VideoSource(stylized)))
            for index, frame in enumerate(islice(frames, max_frames)):
                made = {IDENTITY: frame}
                if stylized is not None and finished is not None:
                    other = next(finished, None)
                    if other is None:
                        return
                    made[stylized.name] = _same_size(other, frame, stylized)
                made.update(_stylized(frame, stylizers))
                if index in _STILLS:
                    stills.append(frame)
                yield frame, made
                on_frame()

    meters, shape, frames, cuts = _follow(outputs())
    gains: dict[str, float] = {IDENTITY: 1.0}
    for candidate in candidates:
        each = [noise_gain(still, candidate.stylizer().stylize) for still in stills]
        gains[candidate.name] = sum(each) / len(each)
    rows = {name: meter.result(gains.get(name)) for name, meter in meters.items()}
    return Evaluation(shape[1], shape[0], frames, cuts, rows)


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass
class _Meter:
    """The sums of one sequence."""

    short: _Mean = field(default_factory=_Mean)
    long: _Mean = field(default_factory=_Mean)
    sharp: _Mean = field(default_factory=_Mean)
    trace: Trace = field(default_factory=Trace)

    def result(self, gain: float | None) -> Steadiness:
        return Steadiness(self.short.value, self.long.value, self.sharp.value or 0.0, gain, self.trace)


def _follow(
    outputs: Iterable[tuple[Frame, Mapping[str, Frame]]],
) -> tuple[dict[str, _Meter], tuple[int, ...], int, list[int]]:
    """Meters of all sequences, the frames' shape and number, and where the cuts are."""
    meters: dict[str, _Meter] = {}
    estimator, detector = MotionEstimator(), CutDetector()
    shot: deque[tuple[Frame, Mapping[str, Frame]]] = deque(maxlen=LONG_RANGE)
    cuts: list[int] = []
    frames, shape = 0, (0, 0)
    for frame, made in outputs:
        if detector.is_cut(small_luma(frame)):
            cuts.append(frames)
            shot.clear()
        motion = estimator.between(shot[-1][0], frame) if shot else None
        far = estimator.between(shot[0][0], frame) if len(shot) == LONG_RANGE else None
        for name, output in made.items():
            meter = meters.setdefault(name, _Meter())
            error = _error(shot[-1][1][name], output, motion) if shot else None
            meter.short.add(error)
            meter.trace.add(error)
            meter.long.add(_error(shot[0][1][name], output, far) if shot else None)
            meter.sharp.add(sharpness(output))
        shot.append((frame, made))
        frames, shape = frames + 1, frame.shape[:2]
    if frames < 2:
        raise SourceError(f"steadiness needs at least two frames of both videos, there are {frames}")
    return meters, shape, frames, cuts


def _error(earlier: Frame, later: Frame, motion: Motion | None) -> float | None:
    return None if motion is None else warping_error(earlier, later, motion)


def _stylized(frame: Frame, stylizers: Mapping[str, Stylizer]) -> dict[str, Frame]:
    """What each stylizer makes of a frame; a network that several share runs once."""
    rendered: dict[int, Frame] = {}
    made = {}
    for name, stylizer in stylizers.items():
        key = id(stylizer.session)
        if key not in rendered:
            rendered[key] = stylizer.render(frame)
        made[name] = stylizer.finish(frame, rendered[key])
    return made


def _same_size(stylized: Frame, source: Frame, path: Path) -> Frame:
    """``stylized`` without the row or column by which encoders make odd sides even."""
    height, width = source.shape[:2]
    extra = stylized.shape[0] - height, stylized.shape[1] - width
    if not all(0 <= side <= 1 for side in extra):
        sizes = f"{stylized.shape[1]}x{stylized.shape[0]}, its source {width}x{height}"
        raise SourceError(f"{path} has frames of {sizes}; both must have the same size")
    return stylized[:height, :width]
