"""What runs on a GPU, as far as it can be tested without one: a stand-in takes ONNX Runtime's place."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from stylize_video import session as session_module
from stylize_video.adapter import FRAMES, STYLIZED
from stylize_video.cuda import CudaRunner, provider_options
from stylize_video.errors import DeviceError
from stylize_video.session import StyleSession, cuda_problem, open_session
from stylize_video.style import Style
from support import draw_picture

needs_cuda = pytest.mark.skipif(cuda_problem() is not None, reason=f"no CUDA here: {cuda_problem()}")


class Value:
    """A tensor on the GPU, and what crossed the bus for it."""

    made: list[Value]

    def __init__(self, shape: tuple[int, ...], kind: type, device: str, index: int) -> None:
        self.data: np.ndarray = np.zeros(shape, kind)
        self.device = (device, index)
        self.crossed = 0
        Value.made.append(self)

    def update_inplace(self, data: np.ndarray) -> None:
        assert data.flags.c_contiguous
        self.crossed += data.nbytes
        self.data[...] = data

    def numpy(self) -> np.ndarray:
        self.crossed += self.data.nbytes
        return self.data.copy()


class Binding:
    def __init__(self) -> None:
        self.bound: dict[str, Value] = {}

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.bound[name] = value

    bind_ortvalue_output = bind_ortvalue_input


class Session:
    """Inverts on the GPU. Records and replays graphs as ONNX Runtime does: addresses are recorded."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.graphs: dict[str, tuple[Value, Value]] = {}
        self.seen: list[str] = []
        self._forgetful = forgetful

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: ort.RunOptions) -> None:
        graph = options.get_run_config_entry("gpu_graph_id") if self._has(options) else "-1"
        self.seen.append(graph)
        source, result = binding.bound[FRAMES], binding.bound[STYLIZED]
        if graph != "-1":
            if self._forgetful and graph in self.graphs:
                return
            source, result = self.graphs.setdefault(graph, (source, result))
        result.data[...] = 255 - source.data

    @staticmethod
    def _has(options: ort.RunOptions) -> bool:
        try:
            options.get_run_config_entry("gpu_graph_id")
        except Exception:
            return False
        return True


@pytest.fixture(autouse=True)
def _nothing_on_the_gpu() -> None:
    Value.made = []


def frames(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


def runner(session: Any, *, graphs: bool = True) -> CudaRunner:
    return CudaRunner(session, 1, graphs=graphs, new_value=Value)


@pytest.mark.parametrize("graphs", [True, False])
def test_every_frame_comes_out_as_its_own(graphs: bool) -> None:
    run = runner(Session(), graphs=graphs).run
    results = []
    for seed in range(6):
        source = frames(20 + seed % 2, 30, seed)
        results.append((source, run(source)))
    for source, result in results:  # later frames must not have changed earlier results
        np.testing.assert_array_equal(result, 255 - source)


def test_buffers_are_made_once_a_size_and_bytes_cross_once_each_way() -> None:
    on_gpu = runner(Session())
    for seed in range(5):
        on_gpu.run(frames(20, 30, seed))
    assert len(Value.made) == 2
    assert all(v.device == ("cuda", 1) and v.data.dtype == np.uint8 for v in Value.made)
    assert [v.crossed for v in Value.made] == [5 * 20 * 30 * 3] * 2
    on_gpu.run(frames(24, 30))
    on_gpu.run(frames(20, 30))
    assert len(Value.made) == 4


def test_sizes_without_end_keep_memory_and_graphs_bounded() -> None:
    session = Session()
    on_gpu = runner(session)
    for height in range(16, 80):
        source = frames(height, 20)
        np.testing.assert_array_equal(on_gpu.run(source), 255 - source)
    np.testing.assert_array_equal(on_gpu.run(frames(16, 20)), 255 - frames(16, 20))  # was let go, comes again
    assert len(session.graphs) <= 32
    assert session.seen[-1] == "-1"
    assert len(on_gpu._bound) <= 12


def test_without_graphs_none_is_recorded() -> None:
    session = Session()
    runner(session, graphs=False).run(frames(20, 30))
    assert not session.graphs


def test_threads_take_turns() -> None:
    run = runner(Session()).run
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(20):
            source = frames(40, 50, seed)
            if (run(source) != 255 - source).any():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_graphs_are_tried_out() -> None:
    assert runner(Session()).replays_right()
    assert runner(Session()).replays_right(size=(16, 16))
    assert not runner(Session(forgetful=True)).replays_right()


def test_options() -> None:
    with_graphs, without = (provider_options(2, graphs=graphs) for graphs in (True, False))
    assert with_graphs["device_id"] == "2"
    assert (with_graphs["enable_cuda_graph"], without["enable_cuda_graph"]) == ("1", "0")
    assert all(isinstance(value, str) for value in with_graphs.values())


@pytest.mark.parametrize(
    ("works_with", "works_without", "expected"),
    [(True, True, True), (False, True, False), (False, False, None)],
)
def test_a_gpu_without_graphs_is_still_a_gpu(
    works_with: bool, works_without: bool, expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def create(*_: object, graphs: bool = False) -> Session:
        tried.append(graphs)
        if not (works_with if graphs else works_without):
            raise DeviceError("no")
        return Session()

    def make_runner(session: Any, index: int, *, graphs: bool) -> CudaRunner:
        return CudaRunner(session, index, graphs=graphs, new_value=Value)

    monkeypatch.setattr(session_module, "_create_session", create)
    monkeypatch.setattr(session_module, "CudaRunner", make_runner)
    monkeypatch.setattr(session_module, "cuda_problem", lambda: None)
    if expected is None:
        with pytest.raises(DeviceError):
            StyleSession(Style.load("photo"), "cuda:1")
        return
    session = StyleSession(Style.load("photo"), "cuda:1")
    assert tried[-1] is expected
    assert session.at_once == 1
    picture = draw_picture(0, 64, 48)
    np.testing.assert_array_equal(session.stylize(picture), 255 - picture)


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_same_picture_as_on_the_cpu_with_graphs_too(precision: str) -> None:
    on_cpu = open_session("photo", device="cpu", precision="fp32")
    on_gpu = open_session("photo", device="cuda", precision=precision)  # type: ignore[arg-type]
    for size in ((361, 639), (64, 48), (361, 639), (361, 639)):
        picture = draw_picture(3, size[1], size[0])
        error = on_cpu.stylize(picture).astype(float) - on_gpu.stylize(picture)
        assert 10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)) >= 40
