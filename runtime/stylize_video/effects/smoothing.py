"""Temporal smoothing: what flickers though nothing moved is held, what moves is followed.

The previous result is warped along the motion of the *source* and blended with the new
frame as far as the warped source agrees with the new source, and never beyond what the
new frame holds nearby. So what was uncovered, or changed its light, leaves no ghosts.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize_video.effects.global_motion import fit_global_motion
from stylize_video.effects.luma import Luma
from stylize_video.effects.warp import NOTHING
from stylize_video.errors import StylizeError
from stylize_video.frame import Frame

_MOST = 0.8
"""Weight of the previous result at smooth=1; a trace halves in three frames and stops at two levels of
255, where rounding keeps it."""

_NOISE, _CHANGE = 3, 16
"""Levels of 255 by which the small luma's past lies outside of what the new one holds nearby: up
to the first they are noise; from the second on the source has changed and its past has no say."""

_PATCH, _AVERAGED = (3, 3), (9, 9)
"""Box filters over the flow, in pixels of the small luma, before and after the global fit. Larger ones
blur the edges of moving objects, smaller ones leave noise in flat areas."""

_WINDOW = (5, 5)
"""Pixels of the small luma over which two motions are compared."""

_MARGIN: Any = 0.3 * _WINDOW[0] * _WINDOW[1]
"""A motion of its own must explain a window of the small luma better than the camera's by so many
levels in all."""

_HOW = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
_NEARBY = np.ones((3, 3), np.uint8)
_SLACK: Any = (4,) * 3  # OpenCV's type stubs know no scalars
"""Levels that the past may lie outside of what the new frame holds nearby."""

_FADING = 24
"""Levels that the past may differ from the new frame where its source begins to disagree."""


def check_smooth(amount: float) -> float:
    """``amount`` itself, if it is one of smoothing.

    Raises:
        StylizeError: it is not between 0 and 1.
    """
    if not isinstance(amount, Real) or not 0 <= amount <= 1:
        raise StylizeError(f"smooth must be between 0 (off) and 1, got {amount!r}")
    return amount


class TemporalSmoother:
    """Smooths one frame after the other; frames may change their size, which begins anew."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(0)
        self._flow.setPatchStride(8)
        self._flow.setGradientDescentIterations(8)
        self._luma: Luma | None = None  # of the past in the buffers, where there is one
        self._buffers = _Buffers(0, 0)

    def reset(self) -> None:
        """Forget the past: the next frame stands alone."""
        self._luma = None

    def smooth(self, luma: Luma, stylized: Frame, amount: float) -> Frame:
        """Return ``stylized`` blended with the past, and remember the result.

        Args:
            luma: the source frame, as :func:`~stylize_video.effects.luma.small_luma`.
            stylized: what the style made of it, uint8 ``[H, W, 3]`` BGR.
            amount: 0 (no past) to 1 (as much of the past as agrees).
        """
        if self._buffers.size != stylized.shape[:2]:
            self._buffers = _Buffers(*stylized.shape[:2])
            self.reset()
        buffers = self._buffers
        result = stylized
        if self._luma is not None:
            flow, change = self._follow(luma, self._luma)
            _warp(flow, buffers)
            _limit(buffers, stylized, change)
            # The root makes equal steps of the knob look equal.
            weight = _MOST * amount**0.5
            result = np.asarray(cv2.addWeighted(buffers.warped, weight, stylized, 1 - weight, 0), np.uint8)
        cv2.cvtColor(result, cv2.COLOR_BGR2BGRA, dst=buffers.past)
        self._luma = luma
        return result

    def _follow(self, luma: Luma, past: Luma) -> tuple[NDArray[np.float32], Luma]:
        """Where each point was, and how much it has changed since: ``[h, w, 2]`` and ``[h, w]``."""
        flow = np.asarray(cv2.blur(self._flow.calc(luma, past, NOTHING), _PATCH), np.float32)
        # Without texture any motion explains a picture; it is taken to move with the camera then.
        camera = fit_global_motion(flow, luma)
        flow = np.asarray(cv2.blur(flow, _AVERAGED), np.float32)
        warped = _moved(past, flow)
        if camera is None:
            camera, panned = np.zeros_like(flow), past
        else:
            panned = _moved(past, camera)
        own, shared = (
            cv2.boxFilter(cv2.absdiff(luma, p), cv2.CV_16U, _WINDOW, normalize=False)
            for p in (warped, panned)
        )
        with_camera = cv2.compare(shared, cv2.add(own, _MARGIN), cv2.CMP_LE)
        cv2.copyTo(camera, with_camera, flow)
        cv2.copyTo(panned, with_camera, warped)
        # Half way to its neighbours a pixel's value counts as the same: a detailed past that is
        # off by a part of a pixel has not changed.
        up, down = (
            cv2.addWeighted(luma, 0.5, extreme(luma, _NEARBY), 0.5, 0) for extreme in (cv2.dilate, cv2.erode)
        )
        change = cv2.add(cv2.subtract(warped, up), cv2.subtract(down, warped))
        # A pixel's style depends on its surroundings, so change counts there too.
        return flow, np.asarray(cv2.dilate(change, _NEARBY), np.uint8)


def _moved(luma: Luma, flow: NDArray[np.float32]) -> Luma:
    return np.asarray(cv2.remap(luma, flow, NOTHING, _HOW, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _limits() -> NDArray[np.uint8]:
    """Levels that the past may differ from the new frame, for each amount of change."""
    agreement = np.clip((_CHANGE - np.arange(256)) / (_CHANGE - _NOISE), 0, 1)
    return np.where(agreement < 1, np.rint(_FADING * agreement), 255).astype(np.uint8)


_LIMITS = _limits()


def _warp(flow: NDArray[np.float32], buffers: _Buffers) -> None:
    """Move the past by ``flow`` ``[h, w, 2]``, in pixels of its own smaller size, into ``buffers.warped``."""
    height, width = buffers.size
    scale: Any = (width / flow.shape[1], height / flow.shape[0], 0, 0)
    large = cv2.resize(cv2.multiply(flow, scale), (width, height), dst=buffers.flow)
    cv2.remap(buffers.past, large, NOTHING, _HOW, dst=buffers.moved, borderMode=cv2.BORDER_REPLICATE)
    cv2.cvtColor(buffers.moved, cv2.COLOR_BGRA2BGR, dst=buffers.warped)


def _limit(buffers: _Buffers, current: Frame, change: Luma) -> None:
    """Bring ``buffers.warped`` as near to the new frame as ``change``, at a fraction of the size, asks for,
    and within what the new frame holds nearby."""
    past, bound, limits, spare = buffers.warped, buffers.bound, buffers.limits, buffers.spare
    large = cv2.resize(np.asarray(cv2.LUT(change, _LIMITS)), buffers.size[::-1], dst=buffers.limit)
    cv2.cvtColor(large, cv2.COLOR_GRAY2BGR, dst=limits)
    cv2.add(cv2.dilate(current, _NEARBY, dst=bound), _SLACK, dst=bound)
    cv2.min(past, cv2.min(bound, cv2.add(current, limits, dst=spare), dst=bound), dst=past)
    cv2.subtract(cv2.erode(current, _NEARBY, dst=bound), _SLACK, dst=bound)
    cv2.max(past, cv2.max(bound, cv2.subtract(current, limits, dst=spare), dst=bound), dst=past)


class _Buffers:
    """What frames of one size are worked out in: fresh memory each time takes longer than the work."""

    def __init__(self, height: int, width: int) -> None:
        self.size = height, width
        self.flow = np.empty((height, width, 2), np.float32)
        self.limit = np.empty((height, width), np.uint8)
        # BGRA: OpenCV warps four channels faster than three.
        self.past, self.moved = (np.empty((height, width, 4), np.uint8) for _ in range(2))
        # The memory of ``moved``, which is done with by then.
        self.spare = self.moved.reshape(-1)[: height * width * 3].reshape(height, width, 3)
        self.warped, self.bound, self.limits = (np.empty((height, width, 3), np.uint8) for _ in range(3))
