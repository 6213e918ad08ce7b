"""Follow stylized sequences beside their source, and sum up how steady each one is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import mean

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
            takes each of them, the source too, down to the sharpness of the least sharp stylized one.
        on_start: called with about how many frames will be looked at, None where nobody knows.
        on_frame: called after each frame that was looked at.

    Raises:
        StylizeError: a video cannot be read, has one frame only, is tiny or of another size; it is
            too flat for the others to be blurred to its sharpness; a style fails.
    """
    finished = None
    if stylized is not None:
        finished = _Finished(_row_of(stylized, [c.name for c in candidates]), stylized)
    measurement = _Measurement(open_scene(source), candidates, finished, max_frames, on_frame)
    count = measurement.count()
    on_start(count and count * (2 if equal_sharpness else 1))
    blur = _equalising_blur(measurement.outputs({}, _Seen())) if equal_sharpness else {}
    seen = _Seen()
    followed = _follow(measurement.outputs(blur, seen), measurement.scene)
    gains = measurement.noise_gains(seen.stills, blur)
    return Evaluation(
        width=followed.width,
        height=followed.height,
        frames=followed.frames,
        cuts=followed.cuts,
        rows={
            name: meter.result(gains.get(name), blur.get(name, 0.0))
            for name, meter in followed.meters.items()
        },
        finished=finished.name if finished else None,
        longer=seen.longer,
        apart=seen.apart,
    )


def _row_of(stylized: Path, taken: Sequence[str]) -> str:
    """A name for a finished video's row that no other row has."""
    names = (stylized.name, str(stylized), f"{stylized} (finished)")
    return next(name for name in names if name not in (IDENTITY, *taken))


_Outputs = Iterator[tuple[Frame, Mapping[str, Frame]]]


@dataclass(frozen=True)
class _Finished:
    """A finished video, and the name of its row."""

    name: str
    path: Path


@dataclass
class _Seen:
    """What one look at all frames comes across."""

    stills: list[Frame] = field(default_factory=list)
    longer: str | None = None
    last: tuple[int, float] = 0, 0.0
    """The number and the seconds of the last frame that a finished video has too."""

    furthest: float = 0.0
    """Seconds between two frames of one number."""

    @property
    def apart(self) -> float | None:
        """See :class:`Evaluation`."""
        index, seconds = self.last
        return self.furthest if index and self.furthest > seconds / index / 2 else None


@dataclass(frozen=True)
class _Measurement:
    """What is measured; see :func:`evaluate`."""

    scene: Scene
    candidates: Sequence[Candidate]
    finished: _Finished | None
    max_frames: int | None
    on_frame: Callable[[], None]

    def count(self) -> int | None:
        """About how many frames a look at all of it takes."""
        scenes = [self.scene] if self.finished is None else [self.scene, Footage(self.finished.path)]
        counts = [self.max_frames, *(scene.count for scene in scenes)]
        return min((count for count in counts if count is not None), default=None)

    def outputs(self, blur: Mapping[str, float], seen: _Seen) -> _Outputs:
        """Each frame of the source, and what every sequence shows there, under so many pixels of blur.

        ``seen`` is filled on the way.
        """
        stylizers = {candidate.name: candidate.stylizer() for candidate in self.candidates}
        with ExitStack() as opened:
            frames = opened.enter_context(closing(self.scene.frames()))
            finished = None
            if self.finished:
                finished = opened.enter_context(closing(Footage(self.finished.path).frames()))
            for index, (seconds, frame) in enumerate(islice(frames, self.max_frames)):
                _check_size(frame)
                made = {IDENTITY: frame}
                if self.finished and finished:
                    other = next(finished, None)
                    if other is None:
                        seen.longer = IDENTITY
                        return
                    made[self.finished.name] = _same_size(other[1], frame, self.finished.path)
                    seen.furthest = max(seen.furthest, abs(seconds - other[0]))
                    seen.last = index, seconds
                made.update(_stylized(frame, stylizers))
                if index in _STILLS:
                    seen.stills.append(frame)
                yield frame, {name: soften(image, blur.get(name, 0.0)) for name, image in made.items()}
                self.on_frame()
            if self.finished and finished and self.max_frames is None and next(finished, None) is not None:
                seen.longer = self.finished.name

    def noise_gains(self, stills: Sequence[Frame], blur: Mapping[str, float]) -> dict[str, float]:
        """The mean noise gain of each style, and of the source, over ``stills``."""
        sigma = blur.get(IDENTITY, 0.0)
        gains = {IDENTITY: 1.0}
        if sigma:
            gains[IDENTITY] = mean(noise_gain(still, lambda frame: soften(frame, sigma)) for still in stills)
        for candidate in self.candidates:
            softness = blur.get(candidate.name, 0.0)
            each = (noise_gain(still, _softened(candidate.stylizer(), softness)) for still in stills)
            gains[candidate.name] = mean(each)
        return gains


def _softened(stylizer: Stylizer, sigma: float) -> Callable[[Frame], Frame]:
    return lambda frame: soften(stylizer.stylize(frame), sigma)


def _equalising_blur(outputs: _Outputs) -> dict[str, float]:
    """Pixels of blur for each sequence after which none is sharper than the least sharp stylized one."""
    sharp: dict[str, _Mean] = {}
    samples: dict[str, Samples] = {}
    for _, made in outputs:
        for name, image in made.items():
            sharp.setdefault(name, _Mean()).add(sharpness(image))
            samples.setdefault(name, Samples()).add(image)
    least, flattest = min(
        ((own.value or 0.0, name) for name, own in sharp.items() if name != IDENTITY),
        default=(0.0, IDENTITY),
    )
    blur = {}
    for name in [*(name for name in sharp if name != IDENTITY), IDENTITY]:
        own = sharp[name]
        seen = samples[name].frames
        # The samples stand for the sequence: what they are to lose is what it is to lose.
        share = least / own.value if own.value else 1.0
        blur[name] = sigma_for(seen, share * sum(map(sharpness, seen)) / len(seen))
        if blur[name] >= MAX_SIGMA:
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


@dataclass(frozen=True)
class _Followed:
    """Meters of all sequences, the frames' size and number, and where the cuts are."""

    meters: Mapping[str, _Meter]
    width: int
    height: int
    frames: int
    cuts: Sequence[int]


def _follow(outputs: _Outputs, scene: Scene) -> _Followed:
    meters: dict[str, _Meter] = {}
    detector = CutDetector()
    shot: deque[tuple[int, Frame, Mapping[str, Frame]]] = deque(maxlen=LONG_RANGE)
    cuts: list[int] = []
    frames, height, width = 0, 0, 0
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
        frames += 1
        height, width = frame.shape[:2]
    if frames < 2:
        raise SourceError(
            f"steadiness is of at least two frames, there {'is' if frames else 'are'} {frames or 'none'}"
        )
    return _Followed(meters, width, height, frames, cuts)


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
