"""What runs on a GPU, as far as it can be tested without one: a stand-in takes ONNX Runtime's place."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from stylize_video.errors import DeviceError
from stylize_video.styles import session as session_module
from stylize_video.styles.adapter import FRAMES, STYLIZED
from stylize_video.styles.cuda import CudaRunner, provider_options
from stylize_video.styles.device import cuda_problem
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style
from stylize_video.styles.variants import open_session
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
    """Inverts on the GPU. Captures and replays graphs as ONNX Runtime does: addresses are captured."""

    def __init__(self, *, forgetful: bool = False, other: bool = False, breaks_after: int = 10**9) -> None:
        self.graph: tuple[Value, Value] | None = None
        self.runs = 0
        self._forgetful, self._other, self._breaks_after = forgetful, other, breaks_after

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: ort.RunOptions) -> None:
        self.runs += 1
        if self.runs > self._breaks_after:
            raise RuntimeError("operation would make the legacy stream depend on a capturing stream")
        source, result = binding.bound[FRAMES], binding.bound[STYLIZED]
        if self._captures(options):
            if self._forgetful and self.graph:
                return
            self.graph = self.graph or (source, result)
            source, result = self.graph
        result.data[...] = source.data // 2 if self._other else 255 - source.data

    @staticmethod
    def _captures(options: ort.RunOptions) -> bool:
        try:
            return bool(options.get_run_config_entry("gpu_graph_id") == "0")
        except Exception:
            return False


@pytest.fixture(autouse=True)
def _nothing_on_the_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    Value.made = []
    if not request.node.get_closest_marker("cuda"):
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", Value)


def frames(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


class Capturing:
    """Opens a session for a size, and remembers which."""

    def __init__(self, **kinds: Any) -> None:
        self.opened: list[tuple[int, int]] = []
        self._kinds = kinds

    def __call__(self, height: int, width: int) -> Session:
        self.opened.append((height, width))
        return Session(**self._kinds)


def runner(open_capturing: Any = None) -> CudaRunner:
    return CudaRunner(Session(), 1, open_capturing=open_capturing)


def run_right(on_gpu: CudaRunner, source: np.ndarray) -> None:
    np.testing.assert_array_equal(on_gpu.run(source), 255 - source)


@pytest.mark.parametrize("captured", [True, False])
def test_every_frame_comes_out_as_its_own(captured: bool) -> None:
    run = runner(Capturing() if captured else None).run
    results = []
    for seed in range(40):
        source = frames(20 + seed % 2, 30, seed)
        results.append((source, run(source)))
    for source, result in results:  # later frames must not have changed earlier results
        np.testing.assert_array_equal(result, 255 - source)


def test_buffers_are_made_once_a_size_and_bytes_cross_once_each_way() -> None:
    on_gpu = runner()
    for seed in range(5):
        on_gpu.run(frames(20, 30, seed))
    assert len(Value.made) == 2
    assert all(v.device == ("cuda", 1) and v.data.dtype == np.uint8 for v in Value.made)
    assert [v.crossed for v in Value.made] == [5 * 20 * 30 * 3] * 2
    on_gpu.run(frames(24, 30))
    on_gpu.run(frames(20, 30))
    assert len(Value.made) == 4


def test_a_size_that_keeps_coming_is_captured() -> None:
    capturing = Capturing()
    on_gpu = runner(capturing)
    run_right(on_gpu, frames(24, 30))
    for seed in range(20):
        run_right(on_gpu, frames(20, 30, seed))
    assert capturing.opened == [(20, 30)]
    assert on_gpu.captured == [(1, 20, 30, 3)]


def test_sizes_without_end_keep_memory_and_graphs_bounded() -> None:
    capturing = Capturing()
    on_gpu = runner(capturing)
    for height in range(16, 80):
        for seed in range(9):
            run_right(on_gpu, frames(height, 20, seed))
            assert len(on_gpu.captured) <= 4
    run_right(on_gpu, frames(16, 20))  # was let go, comes again
    assert len(on_gpu._bindings) <= 12
    assert on_gpu.captured[-1][1] > 60, "old graphs make room for new sizes"


def test_more_sizes_in_turn_than_there_is_room_for_are_not_captured_over_and_over() -> None:
    capturing = Capturing()
    on_gpu = runner(capturing)
    for seed in range(50):  # as the tiles of a large frame do
        for height in range(20, 26):
            run_right(on_gpu, frames(height, 20, seed))
    assert len(capturing.opened) == 4


@pytest.mark.parametrize("kinds", [{"forgetful": True}, {"other": True}, {"breaks_after": 0}])
def test_a_graph_that_is_not_right_is_not_used(kinds: dict[str, Any]) -> None:
    capturing = Capturing(**kinds)
    on_gpu = runner(capturing)
    for height in (20, 24):
        for seed in range(20):
            run_right(on_gpu, frames(height, 30, seed))
    assert len(capturing.opened) == 1, "what does not work is not tried for every size"
    assert on_gpu.captured == []


def test_a_graph_that_breaks_is_left() -> None:
    capturing = Capturing(breaks_after=6)  # three of them try it out
    on_gpu = runner(capturing)
    for seed in range(40):
        run_right(on_gpu, frames(20, 30, seed))
    assert on_gpu.captured == []
    assert len(capturing.opened) == 1


def test_a_session_that_fails_is_told() -> None:
    on_gpu = CudaRunner(Session(breaks_after=1), 1)
    on_gpu.run(frames(20, 30))
    with pytest.raises(RuntimeError, match="capturing stream"):
        on_gpu.run(frames(20, 30))


def test_threads_take_turns() -> None:
    run = runner(Capturing()).run
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


def test_options() -> None:
    with_graphs, without = (provider_options(2, graphs=graphs) for graphs in (True, False))
    assert with_graphs["device_id"] == "2"
    assert (with_graphs["enable_cuda_graph"], without["enable_cuda_graph"]) == ("1", "0")
    assert all(isinstance(value, str) for value in with_graphs.values())


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, *, graphs_work: bool = True) -> tuple[StyleSession, list[Any]]:
    """A session on stand-ins, and the sizes that sessions were opened for; None is any size."""
    sizes: list[Any] = []

    def create(style: Style, model: bytes, *_: object, graphs: bool = False) -> Session:
        if graphs and not graphs_work:
            raise DeviceError("no")
        dimensions = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
        sizes.append([d.dim_value for d in dimensions] if graphs else None)
        return Session()

    def make_runner(session: Any, index: int, *, open_capturing: Any) -> CudaRunner:
        return CudaRunner(session, index, open_capturing=open_capturing)

    monkeypatch.setattr(session_module, "_create_session", create)
    monkeypatch.setattr(session_module, "CudaRunner", make_runner)
    monkeypatch.setattr("stylize_video.styles.device.cuda_problem", lambda: None)
    return StyleSession(Style.load("photo"), "cuda:1"), sizes


@pytest.mark.parametrize("graphs_work", [True, False])
def test_a_gpu_without_graphs_is_still_a_gpu(graphs_work: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    session, sizes = on_a_gpu(monkeypatch, graphs_work=graphs_work)
    assert session.at_once == 1
    for seed in range(10):
        picture = draw_picture(seed, 64, 48)
        np.testing.assert_array_equal(session.stylize(picture), 255 - picture)
    assert sizes == ([None, [1, 48, 64, 3]] if graphs_work else [None])


def test_sizes_can_be_captured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session, sizes = on_a_gpu(monkeypatch)
    for height in (24, 20):
        session.stylize(draw_picture(0, 32, height))
    session.prepare(20, 32)
    session.prepare(20, 32)
    assert sizes == [None, [1, 20, 32, 3]]
    picture = draw_picture(1, 32, 20)
    np.testing.assert_array_equal(session.stylize(picture), 255 - picture)


def test_a_gpu_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: object, **__: object) -> Session:
        raise DeviceError("no")

    monkeypatch.setattr(session_module, "_create_session", create)
    monkeypatch.setattr("stylize_video.styles.device.cuda_problem", lambda: None)
    with pytest.raises(DeviceError):
        StyleSession(Style.load("photo"), "cuda:1")


def test_a_graph_for_one_size_computes_nothing_from_the_size(tmp_path: Path) -> None:
    """What depends on the size would run on the CPU, and keep the GPU from capturing the rest."""
    for name in ("photo.onnx", "photo.fp16.onnx"):
        style = Style.load(find_style("photo").with_name(name))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / name)
        ort.InferenceSession(style.bgr_model(size=(45, 64)), options, providers=["CPUExecutionProvider"])
        operators = {node.op_type for node in onnx.load(tmp_path / name).graph.node}
        assert "Conv" in operators
        assert not operators & {"Shape", "Mod", "Concat", "Squeeze"}


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


@pytest.mark.cuda
@needs_cuda
def test_graphs_work_on_every_size_and_from_every_thread() -> None:
    session = open_session("photo", device="cuda")
    runner = session._runner
    assert isinstance(runner, CudaRunner)
    pictures = [draw_picture(seed, 160, height) for seed in range(4) for height in (96, 99)]
    plain = [session.stylize(picture) for picture in pictures]
    for height in (96, 99):
        session.prepare(height, 160)
    assert {shape[1] for shape in runner.captured} >= {96, 99}
    wrong = []

    def work() -> None:
        for _ in range(5):
            for picture, expected in zip(pictures, plain, strict=True):
                error = session.stylize(picture).astype(float) - expected
                if np.square(error).mean() > 255**2 / 1e4:
                    wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
