"""Follow stylized sequences beside their source, and sum up how steady each one is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stylize_video.effects.cuts import CutDetector
from stylize_video.effects.luma import small_luma
from stylize_video.errors import SourceError
from stylize_video.eval.metrics import noise_gain, sharpness, warping_error
from stylize_video.eval.motion import Motion
from stylize_video.eval.scene import Footage, Scene, open_scene
from stylize_video.eval.softening import MAX_SIGMA, Samples, sigma_for, soften
from stylize_video.eval.trace import Trace
from stylize_video.frame import Frame
from stylize_video.styles.contract import MIN_SIDE
from stylize_video.styles.network import Network
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
        softened: pixels of blur under which all this was measured, for equal sharpness.
    """

    warping_error: float | None
    long_range_error: float | None
    sharpness: float
    noise_gain: float | None
    trace: Trace
    softened: float = 0.0


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
    """What was measured on one video; pairs of frames with a cut between them do not count.

    Attributes:
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        frames: how many there were.
        cuts: the numbers of the frames that begin a shot.
        rows: by name, the unchanged source first.
        finished: the row of the finished video, where one was measured.
        longer: the row of the video that goes on where the other one has ended.
        apart: the most seconds between a frame of the finished video and the frame of the source that
            it was compared with, both after their first one; None where that is no more than half a frame.
    """

    width: int
    height: int
    frames: int
    cuts: Sequence[int]
    rows: Mapping[str, Steadiness]
    finished: str | None = None
    longer: str | None = None
    apart: float | None = None


def evaluate(
    source: Path,
    candidates: Sequence[Candidate] = (),
    *,
    stylized: Path | None = None,
    max_frames: int | None = None,
    equal_sharpness: bool = False,
    on_start: Callable[[int | None], None] = lambda _: None,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measure styles, and a stylized video, on the motion of one source.

    Memory does not depend on the video's length.

    Args:
        source: the video whose motion counts, or a picture, over which a camera passes: its
            motion is not estimated but known (:class:`~stylize_video.eval.scene.PassedOver`).
        candidates: stylized as it goes on, from names that differ.
        stylized: a finished video, frame for frame beside the source; the shorter one ends.
        max_frames: stop after so many.
        equal_sharpness: look at all sequences twice, the second time blurred by as much as
            takes each of them down to the sharpness of the least sharp one.
        on_start: called with about how many frames will be looked at, None where nobody knows.
        on_frame: called after each frame that was looked at.

    Raises:
        StylizeError: a video cannot be read, has one frame only, is tiny or of another size; it is
            too flat for the others to be blurred to its sharpness; a style fails.
    """
    finished = None if stylized is None else _row_of(stylized, [c.name for c in candidates])
    measurement = _Measurement(open_scene(source), candidates, stylized, finished, max_frames, on_frame)
    count = measurement.count()
    on_start(count and count * (2 if equal_sharpness else 1))
    blur = _equalising_blur(measurement.outputs({})) if equal_sharpness else {}
    meters, shape, frames, cuts = _follow(measurement.outputs(blur), measurement.scene)
    gains = measurement.noise_gains(blur)
    rows = {name: meter.result(gains.get(name), blur.get(name, 0.0)) for name, meter in meters.items()}
    return Evaluation(
        shape[1], shape[0], frames, cuts, rows, finished, measurement.longer, measurement.apart()
    )


def _row_of(stylized: Path, taken: Sequence[str]) -> str:
    """A name for a finished video's row that no other row has."""
    names = (stylized.name, str(stylized), f"{stylized} (finished)")
    return next(name for name in names if name not in (IDENTITY, *taken))


_Outputs = Iterator[tuple[Frame, Mapping[str, Frame]]]


@dataclass
class _Measurement:
    """What is measured; see :func:`evaluate`."""

    scene: Scene
    candidates: Sequence[Candidate]
    stylized: Path | None
    finished: str | None
    max_frames: int | None
    on_frame: Callable[[], None]
    longer: str | None = None
    _stills: list[Frame] = field(default_factory=list)
    _last: tuple[int, float] = 0, 0.0
    _furthest: float = 0.0

    def count(self) -> int | None:
        """About how many frames a look at all of it takes."""
        scenes = [self.scene] if self.stylized is None else [self.scene, Footage(self.stylized)]
        counts = [self.max_frames, *(scene.count for scene in scenes)]
        return min((count for count in counts if count is not None), default=None)

    def apart(self) -> float | None:
        """See :class:`Evaluation`."""
        index, seconds = self._last
        return self._furthest if index and self._furthest > seconds / index / 2 else None

    def outputs(self, blur: Mapping[str, float]) -> _Outputs:
        """Each frame of the source, and what every sequence shows there, under so many pixels of blur."""
        stylizers = {candidate.name: candidate.stylizer() for candidate in self.candidates}
        self._stills.clear()
        self._furthest = 0.0
        with ExitStack() as opened:
            frames = opened.enter_context(closing(self.scene.frames()))
            finished = None
            if self.stylized is not None:
                finished = opened.enter_context(closing(Footage(self.stylized).frames()))
            for index, (seconds, frame) in enumerate(islice(frames, self.max_frames)):
                _check_size(frame)
                made = {IDENTITY: frame}
                if self.stylized and self.finished and finished:
                    other = next(finished, None)
                    if other is None:
                        self.longer = IDENTITY
                        return
                    made[self.finished] = _same_size(other[1], frame, self.stylized)
                    self._furthest = max(self._furthest, abs(seconds - other[0]))
                    self._last = index, seconds
                made.update(_stylized(frame, stylizers))
                if index in _STILLS:
                    self._stills.append(frame)
                yield frame, {name: soften(image, blur.get(name, 0.0)) for name, image in made.items()}
                self.on_frame()
            if finished and self.max_frames is None and next(finished, None) is not None:
                self.longer = self.finished

    def noise_gains(self, blur: Mapping[str, float]) -> dict[str, float]:
        """The mean noise gain of each style over the stills that :meth:`outputs` came across."""
        gains = {IDENTITY: 1.0}
        for candidate in self.candidates:
            sigma = blur.get(candidate.name, 0.0)
            each = [noise_gain(still, _softened(candidate.stylizer(), sigma)) for still in self._stills]
            gains[candidate.name] = sum(each) / len(each)
        return gains


def _softened(stylizer: Stylizer, sigma: float) -> Callable[[Frame], Frame]:
    return lambda frame: soften(stylizer.stylize(frame), sigma)


def _equalising_blur(outputs: _Outputs) -> dict[str, float]:
    """Pixels of blur for each stylized sequence, after which all are as sharp as the least sharp one."""
    sharp: dict[str, _Mean] = {}
    samples: dict[str, Samples] = {}
    for _, made in outputs:
        for name, image in made.items():
            if name != IDENTITY:
                sharp.setdefault(name, _Mean()).add(sharpness(image))
                samples.setdefault(name, Samples()).add(image)
    least = min((mean.value or 0.0 for mean in sharp.values()), default=0.0)
    blur = {}
    for name, mean in sharp.items():
        seen = samples[name].frames
        # The samples stand for the sequence: what they are to lose is what it is to lose.
        share = least / mean.value if mean.value else 1.0
        blur[name] = sigma_for(seen, share * sum(map(sharpness, seen)) / len(seen))
        if blur[name] >= MAX_SIGMA:
            flattest = min(sharp, key=lambda other: sharp[other].value or 0.0)
            raise SourceError(
                f"{flattest} is too flat to compare at its sharpness: {name} would be left with nothing"
                f" to see, by a blur of {MAX_SIGMA:.0f} pixels and more"
            )
    return blur


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

    def result(self, gain: float | None, softened: float) -> Steadiness:
        sharp = self.sharp.value or 0.0
        return Steadiness(self.short.value, self.long.value, sharp, gain, self.trace, softened)


def _follow(
    outputs: Iterable[tuple[Frame, Mapping[str, Frame]]], scene: Scene
) -> tuple[dict[str, _Meter], tuple[int, ...], int, list[int]]:
    """Meters of all sequences, the frames' shape and number, and where the cuts are."""
    meters: dict[str, _Meter] = {}
    detector = CutDetector()
    shot: deque[tuple[int, Frame, Mapping[str, Frame]]] = deque(maxlen=LONG_RANGE)
    cuts: list[int] = []
    frames, shape = 0, (0, 0)
    for frame, made in outputs:
        if detector.is_cut(small_luma(frame)):
            cuts.append(frames)
            shot.clear()
        motion = scene.motion(shot[-1][:2], (frames, frame)) if shot else None
        far = scene.motion(shot[0][:2], (frames, frame)) if len(shot) == LONG_RANGE else None
        for name, output in made.items():
            meter = meters.setdefault(name, _Meter())
            error = _error(shot[-1][2][name], output, motion) if shot else None
            meter.short.add(error)
            meter.trace.add(error)
            meter.long.add(_error(shot[0][2][name], output, far) if shot else None)
            meter.sharp.add(sharpness(output))
        shot.append((frames, frame, made))
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


def _check_size(frame: Frame) -> None:
    height, width = frame.shape[:2]
    if min(height, width) < MIN_SIDE:  # optical flow would crash
        raise SourceError(
            f"frames of {width}x{height} are too small to be measured; they need {MIN_SIDE}x{MIN_SIDE} pixels"
        )


def _same_size(stylized: Frame, source: Frame, path: Path) -> Frame:
    """``stylized`` without the row or column by which encoders make odd sides even."""
    height, width = source.shape[:2]
    extra = stylized.shape[0] - height, stylized.shape[1] - width
    if not all(0 <= side <= 1 for side in extra):
        sizes = f"{stylized.shape[1]}x{stylized.shape[0]}, its source {width}x{height}"
        raise SourceError(f"{path} has frames of {sizes}; both must have the same size")
    return stylized[:height, :width]
