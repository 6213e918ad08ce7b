"""Too little memory costs time, never a frame: one step after the other, each told in one line."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import EncodeError

import stylize_video.styles.session as session_module
from stylize_video.bench.baseline import transformer_net
from stylize_video.errors import DeviceError, StyleError
from stylize_video.frame import Frame
from stylize_video.styles.device import Device
from stylize_video.styles.ladder import Ladder, OutOfMemoryError, Step, is_out_of_memory, steps_for
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video_assets.catalog import bundled_styles

BFC_ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node."
    " Status Message: bfc_arena.cc:358 AllocateRawInternal Failed to allocate memory for requested buffer"
    " of size 1769472000"
)
FRAME = np.zeros((32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    "message",
    [
        BFC_ARENA,
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size);",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_messages_about_memory_are_known(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(EncodeError("Failed to serialize proto"))
    assert not is_out_of_memory(RuntimeError("CUDA failure 700: an illegal memory access was encountered"))
    assert not is_out_of_memory(RuntimeError("Non-zero status code returned while running Conv node."))


def test_the_cpu_is_left_for_smaller_tiles_too() -> None:
    found = [(step.on_cpu, step.alone, step.tile_divisor) for step in steps_for(at_once=1, may_leave=True)]
    on_gpu = [(False, False, 1), (False, True, 4), (False, True, 16), (False, True, 64)]
    assert found == on_gpu + [(True, alone, tiles) for _, alone, tiles in on_gpu]


def steps(*names: str) -> list[Step]:
    return [Step(name) for name in names]


class Attempts:
    """Frames that only one step has memory for."""

    def __init__(self, *, works: str, absent: str = "") -> None:
        self.works, self.absent = works, absent
        self.prepared: list[str] = []

    def run(self, step: Step, frame: Frame) -> Frame:
        if step.name != self.works:
            raise OutOfMemoryError(f"{step.name} needs more")
        return frame + 1

    def prepare(self, step: Step) -> bool:
        self.prepared.append(step.name)
        return step.name != self.absent


def test_one_step_after_the_other_and_a_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    ladder, attempts = Ladder(steps("a", "b", "c", "d")), Attempts(works="c")
    np.testing.assert_array_equal(ladder.stylize(FRAME, attempts.run, attempts.prepare), FRAME + 1)
    assert caplog.messages == [
        "not enough memory for a frame of 48x32: going on b",
        "not enough memory for a frame of 48x32: going on c",
    ]
    ladder.stylize(FRAME, attempts.run, attempts.prepare)  # stays where it works
    assert len(caplog.messages) == 2
    assert attempts.prepared == ["b", "c"]


def test_a_step_that_there_is_not_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    ladder, attempts = Ladder(steps("a", "b", "c")), Attempts(works="c", absent="b")
    np.testing.assert_array_equal(ladder.stylize(FRAME, attempts.run, attempts.prepare), FRAME + 1)
    assert caplog.messages == ["not enough memory for a frame of 48x32: going on c"]


def test_a_step_that_cannot_be_prepared_is_tried_again_with_the_next_frame() -> None:
    ladder, attempts = Ladder(steps("a", "b")), Attempts(works="b")

    def failing(step: Step) -> bool:
        raise RuntimeError("the driver is gone")

    with pytest.raises(RuntimeError, match="driver"):
        ladder.stylize(FRAME, attempts.run, failing)
    assert (ladder.stylize(FRAME, attempts.run, attempts.prepare) == 1).all()


def test_the_end_of_the_ladder_is_one_sentence() -> None:
    ladder, attempts = Ladder(steps("a", "b")), Attempts(works="none")
    for _ in range(2):
        with pytest.raises(OutOfMemoryError, match="b needs more; close other programs, or"):
            ladder.stylize(FRAME, attempts.run, attempts.prepare)


def test_other_errors_are_not_answered_with_less_memory() -> None:
    def broken(step: Step, frame: Frame) -> Frame:
        if step.name == "a":
            raise StyleError("broken")
        return frame

    ladder = Ladder(steps("a", "b"))
    with pytest.raises(StyleError, match="broken"):
        ladder.stylize(FRAME, broken, lambda _: True)


def test_threads_go_down_together(caplog: pytest.LogCaptureFixture) -> None:
    ladder, attempts = Ladder(steps("a", "b", "c")), Attempts(works="c")
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda frame: ladder.stylize(frame, attempts.run, attempts.prepare), [FRAME] * 64)
        )
    assert all((result == 1).all() for result in results)
    assert len(caplog.messages) == 2


def test_no_step_is_prepared_while_frames_are_in_the_works() -> None:
    """What a step gives back must not be in use."""
    inside, failed = threading.Barrier(2), threading.Event()
    working: list[int] = []
    seen: list[list[int]] = []

    def run(step: Step, frame: Frame) -> Frame:
        if step.name == "b":
            return frame + 1
        inside.wait(10)
        if frame[0, 0, 0] == 0:
            failed.set()
            raise OutOfMemoryError("more")
        working.append(1)
        failed.wait(10)
        time.sleep(0.1)
        working.pop()
        return frame

    def prepare(_: Step) -> bool:
        seen.append(list(working))
        return True

    ladder = Ladder(steps("a", "b"))
    with ThreadPoolExecutor(2) as pool:
        small, large = pool.map(lambda frame: ladder.stylize(frame, run, prepare), [FRAME, FRAME + 7])
    assert seen == [[]]
    assert (small == 1).all()
    assert (large == 7).all()


def test_a_step_is_left_once() -> None:
    """Of two frames that fail on it the second one finds that the first has seen to it."""
    ladder, attempts = Ladder(steps("a", "b", "c")), Attempts(works="c")
    for _ in range(2):
        ladder._go_down(0, "more", FRAME, attempts.prepare)
    assert attempts.prepared == ["b"]


def test_no_frame_begins_while_a_step_is_left() -> None:
    """They would keep the next step from being prepared, one after the other."""
    failed, may_end, began_early = threading.Event(), threading.Event(), threading.Event()

    def run(step: Step, frame: Frame) -> Frame:
        number = int(frame[0, 0, 0])
        if step.name == "b":
            return frame
        if number == 0:
            failed.set()
            raise OutOfMemoryError("more")
        if number == 2:
            began_early.set()
        may_end.wait(10)
        return frame

    ladder = Ladder(steps("a", "b"))
    with ThreadPoolExecutor(3) as pool:

        def start(number: int) -> None:
            pool.submit(ladder.stylize, FRAME + number, run, lambda _: True)

        start(1)
        start(0)
        assert failed.wait(10)
        while not ladder._going_down:
            time.sleep(0.001)
        start(2)
        assert not began_early.wait(0.1)
        may_end.set()
    assert not began_early.is_set()


class SmallDevice:
    """An ONNX Runtime session that has memory for so many pixels."""

    def __init__(self, inner: Any, pixels: int) -> None:
        self._inner, self._pixels = inner, pixels

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (batch,) = feeds.values()
        pixels = batch.shape[1] * batch.shape[2]
        if pixels > self._pixels:
            raise RuntimeError(BFC_ARENA)
        result: list[np.ndarray] = self._inner.run(outputs, feeds)
        return result


def small_devices(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    create = session_module._create_session
    monkeypatch.setattr(session_module, "_create_session", lambda *a: SmallDevice(create(*a), pixels))


def test_a_session_in_a_small_memory_gives_the_same_frame(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real network in tiles: as if there had been memory enough."""
    style = Style.load(bundled_styles()[0].path)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    plenty = StyleSession(style, "cpu").stylize(frame)
    small_devices(monkeypatch, 200_000)
    stylized = StyleSession(style, "cpu", at_once=2).stylize(frame)
    assert np.abs(stylized.astype(int) - plenty).max() <= 1
    assert [message.split(": going on ")[1] for message in caplog.messages] == [
        "with one frame at a time",
        "in tiles of a quarter of the size",
    ]


class CrowdedDevice(SmallDevice):
    """One that has memory for one frame at a time; each waits for another, which comes at first."""

    both = threading.Barrier(2)
    have_met = False

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            self.both.wait(0.3 if self.have_met else 20)
            CrowdedDevice.have_met = True
        except threading.BrokenBarrierError:
            self.both.reset()
            return super().run(outputs, feeds)
        raise RuntimeError(BFC_ARENA)


def test_where_memory_suffices_for_one_frame_they_take_turns(
    invert_style: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = session_module._create_session
    monkeypatch.setattr(session_module, "_create_session", lambda *a: CrowdedDevice(create(*a), 10**6))
    session = StyleSession(Style.load(invert_style), "cpu", input_range=1, at_once=2)
    with ThreadPoolExecutor(2) as pool:
        for stylized in pool.map(session.stylize, [FRAME] * 2):
            np.testing.assert_array_equal(stylized, 255 - FRAME)
    assert caplog.messages == ["not enough memory for a frame of 48x32: going on with one frame at a time"]


def test_a_device_that_fails_for_good_is_told(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_devices(monkeypatch, 0)
    session = StyleSession(Style.load(invert_style), "cpu", input_range=1)
    with pytest.raises(StyleError, match=r"Failed to allocate memory.*close other programs"):
        session.stylize(FRAME)


class FullGpu:
    """A GPU whose memory another program took."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        raise RuntimeError(BFC_ARENA)


def gpus_that_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = session_module._create_runner

    def open_(style: Style, device: Device, input_range: int, threads: int) -> object:
        return FullGpu() if device.kind == "cuda" else opened(style, device, input_range, threads)

    monkeypatch.setattr(session_module, "_create_runner", open_)
    monkeypatch.setattr(
        session_module, "resolve_device", lambda text: Device("cpu" if text == "cpu" else "cuda")
    )


def test_a_full_gpu_ends_on_the_cpu(
    invert_style: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus_that_are_full(monkeypatch)
    session = StyleSession(Style.load(invert_style), "auto", input_range=1)
    assert str(session.device) == "cuda:0"
    np.testing.assert_array_equal(session.stylize(FRAME), 255 - FRAME)
    assert str(session.device) == "cpu"  # and says so
    assert [message.split(": going on ")[1] for message in caplog.messages] == [
        "in tiles of a quarter of the size",
        "in tiles of a sixteenth of the size",
        "in tiles of a sixty-fourth of the size",
        "on the CPU",
    ]


def test_on_the_cpu_tiles_are_those_of_the_cpu(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's are eight times as large."""
    gpus_that_are_full(monkeypatch)
    monkeypatch.setitem(session_module.MAX_PIXELS, "cpu", 40_000)
    session = StyleSession(Style.load(invert_style), "auto", input_range=1)
    frame = np.random.default_rng(0).integers(0, 256, (200, 400, 3), np.uint8)
    np.testing.assert_array_equal(session.stylize(frame), 255 - frame)
    seen: list[int] = []
    run = session._run

    def recording(part: Frame) -> Frame:
        seen.append(part.shape[0] * part.shape[1])
        return run(part)

    monkeypatch.setattr(session, "_run", recording)
    session.stylize(frame)
    assert max(seen) <= 40_000


def test_a_gpu_that_was_insisted_on_is_not_left(invert_style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus_that_are_full(monkeypatch)
    session = StyleSession(Style.load(invert_style), "cuda", input_range=1)
    with pytest.raises(StyleError, match="close other programs"):
        session.stylize(FRAME)
    assert str(session.device) == "cuda:0"


class Memory:
    """Opens sessions as long as ``refusals`` last out; every frame on the device ``full`` fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, full: str, refusal: Exception) -> None:
        self.full, self.refusals = full, 0
        opened = session_module._create_runner

        def open_(style: Style, device: Device, input_range: int, threads: int) -> object:
            if self.refusals:
                self.refusals -= 1
                raise refusal
            return FullGpu() if device.kind == self.full else opened(style, device, input_range, threads)

        monkeypatch.setattr(session_module, "_create_runner", open_)


REFUSALS = [
    MemoryError(),
    EncodeError("Failed to serialize proto"),
    DeviceError("photo.onnx cannot run on cuda:0: CUDA failure 2: out of memory"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_where_opening_anew_fails_the_next_step_is_tried(
    refusal: Exception,
    invert_style: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "resolve_device", lambda text: Device("cuda"))
    memory = Memory(monkeypatch, full="cuda", refusal=refusal)
    session = StyleSession(Style.load(invert_style), "auto", input_range=1)
    memory.refusals = 3
    np.testing.assert_array_equal(session.stylize(FRAME), 255 - FRAME)
    assert len(caplog.messages) == 4
    assert caplog.messages[-1].endswith("going on on the CPU")


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_session_that_had_no_memory_for_anything_goes_on_when_it_is_back(
    refusal: Exception, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, full="cpu", refusal=refusal)
    session = StyleSession(Style.load(invert_style), "cpu", input_range=1, at_once=2)
    memory.refusals = 1000
    for _ in range(3):
        with pytest.raises(OutOfMemoryError, match="close other programs"):
            session.stylize(FRAME)
    memory.refusals, memory.full = 0, ""
    np.testing.assert_array_equal(session.stylize(FRAME), 255 - FRAME)


@pytest.mark.parametrize("refusal", REFUSALS[:2], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("during", ["_create_runner", "probe_range"])
def test_too_little_memory_to_open_a_style_is_a_sentence(
    refusal: Exception, during: str, invert_style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(session_module, during, refuse)
    with pytest.raises(OutOfMemoryError, match=r"not enough memory to open .*invert\.onnx"):
        StyleSession(Style.load(invert_style), "cpu")


def test_large_frames_of_a_network_that_looks_at_all_of_them(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such frames are made smaller inside a step that lets only one at a time in."""
    small_devices(monkeypatch, 300_000)
    monkeypatch.setattr(session_module, "MAX_WHOLE_PIXELS", 400_000)
    monkeypatch.setitem(session_module.MAX_PIXELS, "cpu", 100_000)
    session = StyleSession(transformer_net(width=2), "cpu", input_range=1, at_once=2)
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        session.stylize(np.zeros((800, 800, 3), np.uint8))
    assert caplog.messages[-1].endswith("going on with one frame at a time")


def test_memory_that_really_ends() -> None:
    """ONNX Runtime under a limit of the operating system: the frame comes all the same."""
    if not sys.platform.startswith("linux"):
        pytest.skip("RLIMIT_DATA counts what is allocated on Linux only")
    program = """
import logging, resource, sys
from pathlib import Path
import numpy as np
import stylize_video.styles.session as s
logging.basicConfig()
s.MAX_PIXELS["cpu"] = 10**9
session = s.StyleSession(s.Style.load("photo"), "cpu", threads=1)
frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
session.stylize(frame[:64, :64])
lines = Path("/proc/self/status").read_text().splitlines()
used = next(int(line.split()[1]) * 1024 for line in lines if "VmData" in line)
resource.setrlimit(resource.RLIMIT_DATA, (used + 30 * 2**20, resource.RLIM_INFINITY))
stylized = session.stylize(frame)
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(np.abs(stylized.astype(int) - s.StyleSession(session.style, "cpu").stylize(frame)).max())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) <= 1
    assert "not enough memory" in done.stderr
    assert "going on in tiles" in done.stderr
