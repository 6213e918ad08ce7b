"""Exports keep the contract, match torch, and leave nothing behind when they do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from networks_support import CONFIGS, ToOnnx, checkpoint_of, random_network
from stylize_video.errors import DeviceError, StyleError
from stylize_video.frame import psnr
from stylize_video.styles.adapter import FRAMES, STYLIZED
from stylize_video.styles.contract import INPUT_NAME, OUTPUT_NAME, PRECISIONS, Precision, StyleMetadata
from stylize_video.styles.device import PROVIDERS, cuda_problem
from stylize_video.styles.golden import golden_problem
from stylize_video.styles.receptive_field import find_receptive_field
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style
from stylize_video_export import variants
from stylize_video_export.export import Export, ExportedFile, export_checkpoint
from stylize_video_export.extremes import extreme_pictures
from stylize_video_export.inspect import check_style, describe_style
from stylize_video_export.parity import (
    SHAPES,
    Comparison,
    Pixels,
    compare,
    parity_inputs,
    runner,
)
from stylize_video_export.quantization import ActivationLosses, round_weights
from stylize_video_export.request import ExportError
from stylize_video_export.to_onnx import ContractNetwork, to_onnx, with_metadata
from stylize_video_export.variants import largest_value, prepare_int8, to_int8
from stylize_video_train.checkpoint import Checkpoint
from stylize_video_train.recipe import NetworkConfig
from support import draw_picture

PICTURES: Sequence[Pixels] = [
    (draw_picture(index, 96, 80).transpose(2, 0, 1)[None] / 255).astype(np.float32) for index in range(6)
]


@dataclass(frozen=True)
class Exported:
    """One checkpoint exported in every precision, once for all tests that look at the result."""

    folder: Path
    export: Export
    graph: onnx.ModelProto

    def file(self, precision: Precision) -> ExportedFile:
        return next(file for file in self.export.files if file.precision == precision)


@pytest.fixture(scope="session")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    export = export_checkpoint(
        checkpoint,
        folder / "toy.onnx",
        metadata=StyleMetadata(author="A. Painter", licence="CC0-1.0", thumbnail=b"jpeg"),
        precisions=PRECISIONS,
        pictures=PICTURES,
    )
    return Exported(folder, export, onnx.load_model(str(folder / "toy.onnx")))


@pytest.fixture(scope="session")
def toy() -> Checkpoint:
    """The smallest checkpoint, for tests that any network would do for."""
    return checkpoint_of(random_network(CONFIGS["realtime"]))


def test_the_contract(exported: Exported) -> None:
    graph = exported.graph
    onnx.checker.check_model(graph, full_check=True)
    (given_,), (result,) = graph.graph.input, graph.graph.output
    assert (given_.name, result.name) == (INPUT_NAME, OUTPUT_NAME)
    for value in (given_, result):
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert dims == ["N", 3, "H", "W"]
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {o.domain: o.version for o in graph.opset_import} == {"": 18}
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.graph.initializer)
    assert not {"BatchNormalization", "Einsum"} & {node.op_type for node in graph.graph.node}


def test_every_variant_is_of_the_version_that_came_with_its_opset(exported: Exported) -> None:
    """Readers refuse newer ones than they know."""
    for file in exported.export.files:
        assert onnx.load_model(str(file.path)).ir_version == 8


def test_every_size_matches_torch(checkpoint: Checkpoint, exported: Exported) -> None:
    network, run = ContractNetwork(checkpoint.build()), runner(exported.graph)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(1, 3), st.integers(16, 70), st.integers(16, 70))
    def check(batch: int, height: int, width: int) -> None:
        pixels = np.random.default_rng(height * 71 + width).random((batch, 3, height, width), np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(pixels)).numpy()
        got = run(pixels)
        assert got.shape == pixels.shape
        assert 0 <= got.min() <= got.max() <= 1
        assert got.std() > 0.01  # a blank picture would match anything
        np.testing.assert_allclose(got, expected, atol=1e-3)

    check()


def test_the_same_checkpoint_gives_the_same_bytes(
    toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video_export.export.to_onnx", to_onnx)  # anew each time
    for name in ("a.onnx", "b.onnx"):
        export_checkpoint(toy, tmp_path / name, verify=False)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_no_trace_of_the_machine_is_in_the_file(exported: Exported) -> None:
    for file in exported.export.files:
        content = file.path.read_bytes()
        assert b".py" not in content
        assert str(exported.folder).encode() not in content


def test_the_proof_is_of_every_shape_and_of_pictures(exported: Exported) -> None:
    cases = [row.case for row in exported.export.comparisons]
    assert cases[: len(SHAPES)] == [f"noise {batch}x{width}x{height}" for batch, height, width in SHAPES]
    assert cases[len(SHAPES) :] == ["gradient 1x161x90", *["picture 1x96x80"] * 4]
    assert all(0 < row.max_error < 1e-3 for row in exported.export.comparisons)


def test_a_wrong_export_is_not_written(
    toy: Checkpoint, quick_to_onnx: ToOnnx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: ContractNetwork, *, opset: int) -> onnx.ModelProto:
        model = quick_to_onnx(network, opset=opset)
        biases = [t for t in model.graph.initializer if len(t.dims) == 1 and t.data_type == 1]
        wrong = onnx.numpy_helper.to_array(biases[-1]) + 0.01
        biases[-1].CopyFrom(onnx.numpy_helper.from_array(wrong.astype(np.float32), biases[-1].name))
        return model

    monkeypatch.setattr("stylize_video_export.export.to_onnx", broken)
    with pytest.raises(ExportError, match=r"differs from torch by .*toy\.onnx was not written"):
        export_checkpoint(toy, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, toy: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"up2\.bias has values that are no numbers"):
        export_checkpoint(replace(toy, weights=with_biases(toy.weights, value)), tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("inf"), float("nan"), torch.zeros(2)])
def test_a_recipe_that_no_style_file_can_hold(value: object, toy: Checkpoint, tmp_path: Path) -> None:
    strange = replace(toy, recipe={**toy.recipe, "noise": value})
    with pytest.raises(ExportError, match="recipe cannot be written into a style file"):
        export_checkpoint(strange, tmp_path / "toy.onnx", verify=False)
    assert not list(tmp_path.iterdir())


def test_what_is_no_text_becomes_text(toy: Checkpoint, tmp_path: Path) -> None:
    """As names of files are that no encoding fits."""
    strange = replace(toy, style={"name": "caf\udce9"}, recipe={**toy.recipe, "start": "caf\udce9.pth"})
    export_checkpoint(
        strange, tmp_path / "toy.onnx", metadata=StyleMetadata(author="Jos\udce9"), verify=False
    )
    metadata = Style.load(tmp_path / "toy.onnx").metadata
    assert metadata is not None
    assert (metadata.name, metadata.author) == ("caf?", "Jos?")


def test_a_nan_in_any_row_of_the_proof_counts(
    toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(*_: object, provider: str) -> list[Comparison]:
        errors = {"first": 1e-7, "second": float("nan"), "third": 1e-6}
        return [Comparison(case, provider, error, error, 120) for case, error in errors.items()]

    monkeypatch.setattr("stylize_video_export.export.compare", compared)
    with pytest.raises(ExportError, match="differs from torch by nan on second"):
        export_checkpoint(toy, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precisions", [("fp32",), ("fp16",), ("int8",)])
def test_a_golden_pair_of_nans_is_not_written(
    precisions: Sequence[Precision], toy: Checkpoint, tmp_path: Path
) -> None:
    large = torch.full_like(toy.weights["stem.conv.weight"], 3e38)  # and sums of those are infinite
    broken = replace(toy, weights={**toy.weights, "stem.conv.weight": large})
    with pytest.raises(ExportError, match="comes out with values that are no numbers"):
        export_checkpoint(
            broken, tmp_path / "toy.onnx", verify=False, precisions=precisions, pictures=PICTURES
        )
    assert not list(tmp_path.iterdir())


def test_a_style_that_gives_no_numbers_fails_its_check(
    toy: Checkpoint, quick_to_onnx: ToOnnx, tmp_path: Path
) -> None:
    """In bytes a NaN is black, also in the golden pair that an export once took from it."""
    path = tmp_path / "toy.onnx"
    export_checkpoint(toy, path)
    metadata = Style.load(path).metadata
    assert metadata is not None
    assert metadata.golden is not None
    assert check_style(path, device="cpu") == [f"{path}: golden pair right on cpu"]
    broken = replace(toy, weights=with_biases(toy.weights, float("nan")))
    graph = quick_to_onnx(ContractNetwork(broken.build()))
    black = replace(metadata.golden, stylized=np.zeros_like(metadata.golden.stylized))
    path.write_bytes(with_metadata(graph, replace(metadata, golden=black)).SerializeToString())
    assert golden_problem(StyleSession(Style.load(path), "cpu")) is None
    with pytest.raises(StyleError, match="no numbers"):
        check_style(path, device="cpu")
    assert any("no numbers" in line for line in describe_style(path) if line.startswith("golden"))


def with_biases(weights: Mapping[str, Tensor], value: float) -> dict[str, Tensor]:
    """With these in the last layer."""
    return {**weights, "up2.bias": torch.full_like(weights["up2.bias"], value)}


def test_every_file_carries_its_proof_and_its_story(checkpoint: Checkpoint, exported: Exported) -> None:
    assert {"toy.onnx", "toy.fp16.onnx"} <= {file.path.name for file in exported.export.files}
    for file in exported.export.files:
        style = Style.load(file.path)
        assert style.metadata is not None
        assert style.metadata.author == "A. Painter"
        assert style.metadata.licence == "CC0-1.0"
        assert style.metadata.thumbnail == b"jpeg"
        assert style.metadata.name == "toy"
        assert style.metadata.recipe == checkpoint.recipe
        assert style.metadata.checkpoint_sha256 == checkpoint.weights_sha256()
        assert style.precision == file.precision
        assert style.metadata.faster_on == file.faster_on
        assert golden_problem(StyleSession(style, "cpu")) is None


def test_a_style_does_not_tell_where_it_was_trained(toy: Checkpoint, tmp_path: Path) -> None:
    recipe = {**toy.recipe, "start": "/home/someone/secret/first.pth", "teacher": str(tmp_path / "big.onnx")}
    export_checkpoint(replace(toy, recipe=recipe), tmp_path / "toy.onnx")
    metadata = Style.load(tmp_path / "toy.onnx").metadata
    assert metadata is not None
    assert (metadata.recipe["start"], metadata.recipe["teacher"]) == ("first.pth", "big.onnx")


@pytest.mark.parametrize("step", [198, 4000])
def test_an_interrupted_training_says_how_far_it_came(
    step: int, toy: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "toy.onnx"
    checkpoint = replace(toy, recipe={**toy.recipe, "steps": 4000}, step=step)
    export_checkpoint(checkpoint, path, verify=False)
    (recipe,) = (line for line in describe_style(path) if line.startswith("recipe"))
    said = [r.getMessage() for r in caplog.records if r.name == "stylize_video_export.export"]
    if step == 4000:
        assert not said
        assert "steps 4000" in recipe
    else:
        assert said == ["the training was interrupted: this is the style after 198 of 4000 steps"]
        assert "steps 198 of 4000" in recipe


def test_half_is_close_and_float_at_the_border(exported: Exported) -> None:
    file = exported.file("fp16")
    assert file.psnr is file.worst_psnr is None, "a CPU computes it in fp32"
    half = onnx.load_model(str(file.path))
    kinds = {t.data_type for t in half.graph.initializer if len(t.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    rows = compare(runner(exported.graph), half, parity_inputs())
    assert min(row.psnr for row in rows) > 38
    assert max(row.max_error for row in rows) < 0.05


def test_half_keeps_instance_norm_in_float32(checkpoint: Checkpoint, exported: Exported) -> None:
    half = onnx.shape_inference.infer_shapes(onnx.load_model(str(exported.file("fp16").path)))
    kinds = {v.name: v.type.tensor_type.elem_type for v in half.graph.value_info}
    norms = [node for node in half.graph.node if node.op_type == "InstanceNormalization"]
    assert bool(norms) == (checkpoint.network.kind == "transformer")
    assert all(kinds[node.input[0]] == onnx.TensorProto.FLOAT for node in norms)


def test_int8_is_close_and_small_or_refused(checkpoint: Checkpoint, exported: Exported) -> None:
    if checkpoint.network.kind == "transformer":  # with random weights it is far off
        (refused,) = exported.export.refused
        assert re.fullmatch(r"int8 was not written: \d\d\.\d dB against fp32, at least 38 dB wanted", refused)
        assert not (exported.folder / "toy.int8.onnx").exists()
        int8, in_float = to_int8(prepare_int8(exported.graph, PICTURES)), 2
    else:
        assert not exported.export.refused
        file = exported.file("int8")
        int8, in_float = onnx.load_model(str(file.path)), 0
        one, other = runner(exported.graph), runner(int8)
        measured = np.mean([psnr(one(p), other(p), white=1) for p in PICTURES[::3]])  # those held out
        assert measured == pytest.approx(file.psnr, abs=0.1)
        assert measured >= 38
        extreme = [psnr(one(p), other(p), white=1) for b in extreme_pictures(1).values() for p in b[:, None]]
        assert min(extreme) == pytest.approx(file.worst_psnr, abs=0.1)
        assert min(extreme) >= 25
    stored = [t for t in int8.graph.initializer if len(t.dims) == 4]
    assert sum(t.data_type == onnx.TensorProto.INT8 for t in stored) == len(stored) - in_float


def test_int8_of_the_realtime_network_is_bytes_from_end_to_end(toy: Checkpoint, tmp_path: Path) -> None:
    export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("fp32", "int8"), pictures=PICTURES)
    whole, int8 = (Style.load(tmp_path / name) for name in ("toy.onnx", "toy.int8.onnx"))
    assert whole.rgb_model() is None
    model = int8.rgb_model()
    assert model is not None
    adapted = onnx.load_model_from_string(model)
    assert not {"QuantizeLinear", "Cast", "Mul"} & {
        n.op_type for n in adapted.graph.node if FRAMES in n.input
    }
    in_bytes, around = (
        ort.InferenceSession(m, providers=["CPUExecutionProvider"]) for m in (model, int8.bgr_model())
    )
    for height, width in ((16, 16), (37, 90), (64, 41)):
        frame = draw_picture(3, width, height)
        got = in_bytes.run([STYLIZED], {FRAMES: frame[None, ..., ::-1]})[0]
        assert got.shape == (1, height, width, 4)
        expected = around.run([STYLIZED], {FRAMES: frame[None]})[0]
        np.testing.assert_array_equal(got[..., 2::-1], expected)
        np.testing.assert_array_equal(StyleSession(int8, "cpu").stylize(frame), expected[0])


def test_every_variant_tells_how_far_the_network_looks(exported: Exported) -> None:
    found = find_receptive_field(exported.graph)
    for file in exported.export.files:
        metadata = Style.load(file.path).metadata
        assert metadata is not None
        assert metadata.receptive_field == ((found.radius, found.stride) if found else None)


def test_int8_cannot_overflow_on_cpus_without_vnni() -> None:
    """They add products of uint8 and int8 in pairs, in 16 bits, and saturate."""
    model = overflowing_style()
    bright = [np.full((1, 3, 32, 32), level, np.float32) for level in (0.5, 1.0)]
    int8 = to_int8(prepare_int8(model, bright))
    weights = [onnx.numpy_helper.to_array(t) for t in int8.graph.initializer if len(t.dims) == 4]
    (quantized,) = [w for w in weights if w.dtype == np.int8]
    assert np.abs(quantized).max() > 60
    assert 2 * 255 * int(np.abs(quantized).max()) < 2**15
    np.testing.assert_allclose(runner(int8)(bright[1]), runner(model)(bright[1]), atol=0.03)


def test_a_few_bright_points_cost_int8_no_precision() -> None:
    model = overflowing_style()
    dark = 0.02 * np.random.default_rng(0).random((1, 3, 400, 400), np.float32)
    glint = dark.copy()
    glint[..., 200, 200] = 1
    small = dark[..., :300, :100]  # pictures may differ in size
    errors = [
        np.abs(runner(to_int8(prepare_int8(model, [picture, small])))(dark) - runner(model)(dark)).mean()
        for picture in (dark, glint)
    ]
    assert errors[1] < 10 * errors[0]  # 50 times with the range of all that occurs


def test_int8_that_is_wrong_on_one_extreme_picture_is_not_written(
    toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video_export.export.WORST_PSNR", 98)
    export = export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("int8",), pictures=PICTURES)
    (refused,) = export.refused
    assert re.search(r"^int8 was not written: \d\d\.\d dB against fp32 on [a-z].*, at least 98 dB", refused)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(cuda_problem() is None, reason="CUDA works here")
def test_nothing_is_proved_on_a_device_that_was_not_taken() -> None:
    with pytest.raises(DeviceError, match="cannot use CUDAExecutionProvider here: it took CPU"):
        runner(overflowing_style(), provider=PROVIDERS["cuda"])


def one_convolution(weight: np.ndarray) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["frames", "w", "b"], [OUTPUT_NAME], "only")],
        "style",
        [onnx.helper.make_tensor_value_info(INPUT_NAME, 1, [1, 3, "H", "W"])],
        [onnx.helper.make_tensor_value_info(OUTPUT_NAME, 1, [1, 3, "h", "w"])],
        [onnx.numpy_helper.from_array(v, n) for v, n in ((weight, "w"), (np.zeros(3, np.float32), "b"))],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def test_the_same_pictures_round_weights_alike_and_dead_channels_stay_dead() -> None:
    weight = np.random.default_rng(0).normal(0, 0.1, (3, 3, 5, 5)).astype(np.float32)
    weight[1] = 0
    rounded, again = (round_weights(one_convolution(weight), [], PICTURES)[0] for _ in range(2))
    assert rounded.SerializeToString() == again.SerializeToString()
    assert np.isfinite(levels := onnx.numpy_helper.to_array(rounded.graph.initializer[0])).all()
    assert not levels[1].any()


def test_what_is_no_number_has_no_range_and_is_the_largest_value() -> None:
    weight = np.full((3, 3, 1, 1), np.nan, np.float32)
    model = onnx.shape_inference.infer_shapes(one_convolution(weight))
    with pytest.raises(ExportError, match="values that are no numbers"):
        ActivationLosses.measure(model, [OUTPUT_NAME], PICTURES[:1])
    model = overflowing_style()
    model.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.full((16, 16, 3, 3), np.nan, np.float32), "w1")
    )
    assert np.isnan(largest_value(model, PICTURES[:1]))


def test_weights_are_rounded_for_their_sum() -> None:
    """A smooth picture shows the sum of a kernel's errors, which rounding one by one leaves to chance."""
    weight = np.random.default_rng(0).normal(0, 0.1, (3, 3, 5, 5)).astype(np.float32)
    model = one_convolution(weight)
    across = np.linspace(0, 1, 64, dtype=np.float32)
    ramps = [
        (low[:, None] + (high - low)[:, None] * across)[None, :, None].repeat(48, axis=2).astype(np.float32)
        for low, high in np.random.default_rng(1).random((4, 2, 3))
    ]
    rounded, steps = round_weights(model, [], ramps)
    step = steps["w"][:, None, None, None]
    levels = onnx.numpy_helper.to_array(rounded.graph.initializer[0]) / step
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert np.abs(levels).max() <= 63.001
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    nearest = (np.round(weight / step) * step).astype(np.float32)
    plain.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(nearest, "w"))
    expected, *got = ([runner(m)(ramp) for ramp in ramps] for m in (model, rounded, plain))
    errors = [np.mean([np.square(a - b).mean() for a, b in zip(expected, g, strict=True)]) for g in got]
    assert errors[0] < errors[1] / 2
    means = [np.mean([(b - a).mean((0, 2, 3)) for a, b in zip(expected, g, strict=True)], 0) for g in got]
    assert np.abs(means[0]).max() < 1e-4  # what rounding does to the mean goes into the bias
    assert np.abs(means[1]).max() > 1e-3


def overflowing_style() -> onnx.ModelProto:
    """Three convolutions; in the middle one all weights are large and all activations too."""
    shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (3, 16, 3, 3)]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["frames", "w0"], ["c0"], "first", pads=[1] * 4),
            onnx.helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
            onnx.helper.make_node("Conv", ["r0", "w1"], ["c1"], "middle", pads=[1] * 4),
            onnx.helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
            onnx.helper.make_node("Conv", ["r1", "w2"], [OUTPUT_NAME], "last", pads=[1] * 4),
        ],
        "style",
        [onnx.helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [onnx.helper.make_tensor_value_info(OUTPUT_NAME, onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [
            # Each convolution is a mean, so that white stays white.
            onnx.numpy_helper.from_array(np.full(shape, 1 / np.prod(shape[1:]), np.float32), f"w{index}")
            for index, shape in enumerate(shapes)
        ],
    )
    opset = onnx.helper.make_opsetid("", 18)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def test_int8_wants_real_pictures(toy: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--calibrate"):
        export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("int8",))
    assert not list(tmp_path.iterdir())


def test_int8_is_not_judged_by_the_photo_that_it_is_made_with(toy: Checkpoint, tmp_path: Path) -> None:
    export = export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("int8",), pictures=PICTURES[:1])
    assert not export.files
    assert export.refused[0].startswith("int8 was not written: one photo is not enough")
    assert not list(tmp_path.iterdir())


def test_weights_are_rounded_once_for_ranges_of_every_width(
    toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(variants, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*arguments, **options)

        return call

    for name in ("round_weights", "quant_pre_process", "quantize_static"):
        monkeypatch.setattr(variants, name, counted(name))
    monkeypatch.setattr("stylize_video_export.export._PHOTOS_PSNR", np.inf)
    monkeypatch.setattr("stylize_video_export.export._WORTH_TRYING", -np.inf)
    export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("int8",), pictures=PICTURES, verify=False)
    assert [calls.count(name) for name in ("round_weights", "quant_pre_process", "quantize_static")] == [
        1,
        1,
        5,
    ]


def test_variants_below_the_gate_are_refused(
    toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize_video_export.export.VARIANT_PSNR", 98.9)
    export = export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("fp32", "fp16"), pictures=PICTURES)
    assert [file.precision for file in export.files] == ["fp32"]
    assert "fp16 was not written" in export.refused[0]
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def test_a_variant_of_nans_is_refused(
    toy: Checkpoint, quick_to_onnx: ToOnnx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = quick_to_onnx(ContractNetwork(replace(toy, weights=with_biases(toy.weights, np.nan)).build()))
    monkeypatch.setattr("stylize_video_export.export.to_half", lambda _: broken)
    export = export_checkpoint(toy, tmp_path / "toy.onnx", precisions=("fp32", "fp16"))
    assert [file.precision for file in export.files] == ["fp32"]
    assert export.refused == ["fp16 was not written: pictures come out with values that are no numbers"]
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


@pytest.mark.parametrize("pictures", [PICTURES, []], ids=["on pictures", "on noise"])
def test_values_that_fp16_cannot_hold_are_found_on_a_cpu(pictures: Sequence[Pixels], tmp_path: Path) -> None:
    """Instance normalisation makes the same picture of them, and CPUs compute fp16 in fp32."""
    checkpoint = checkpoint_of(random_network(NetworkConfig(kind="transformer", width=8, blocks=1)))
    weights = dict(checkpoint.weights)
    for name in ("conv1.conv2d.weight", "conv1.conv2d.bias"):
        weights[name] = weights[name] * 300_000
    assert max(float(value.abs().max()) for value in weights.values()) < 65504
    export = export_checkpoint(
        replace(checkpoint, weights=weights),
        tmp_path / "toy.onnx",
        precisions=("fp16",),
        pictures=pictures,
        verify=False,
    )
    assert not export.files
    assert re.fullmatch(
        r"fp16 was not written: the network's values reach \S+, at most 32752 .*", export.refused[0]
    )


def test_the_largest_value_is_that_of_weights_and_activations() -> None:
    model = overflowing_style()
    white = np.ones((1, 3, 32, 32), np.float32)
    assert largest_value(model, [0 * white, white]) == pytest.approx(1)
    large = onnx.numpy_helper.from_array(np.full((3, 16, 3, 3), -70_000, np.float32), "w2")
    model.graph.initializer[2].CopyFrom(large)
    assert largest_value(model, [white]) == pytest.approx(70_000)


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cuda"), ("int8", "cpu")])
def test_variants_are_compared_where_they_are_made_for(
    precision: Precision, device: str, toy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    def compared(*arguments: Any, provider: str = PROVIDERS["cpu"]) -> list[Comparison]:
        used.append(provider)
        return compare(*arguments)

    monkeypatch.setattr("stylize_video_export.export.compare", compared)
    monkeypatch.setattr(
        "stylize_video_export.export.measure_speed", lambda models, **_: dict.fromkeys(models, 1)
    )
    export_checkpoint(
        toy,
        tmp_path / "toy.onnx",
        precisions=(precision,),
        pictures=PICTURES,
        devices=("cpu", "cuda"),
        verify=False,
    )
    assert used[-1] == PROVIDERS[device]  # before that int8 looks for its ranges


@pytest.mark.cuda
@pytest.mark.skipif(cuda_problem() is not None, reason=f"no CUDA here: {cuda_problem()}")
def test_half_on_a_gpu_is_what_is_compared(exported: Exported) -> None:
    half = onnx.load_model(str(exported.folder / "toy.fp16.onnx"))
    rows = compare(runner(exported.graph), half, parity_inputs(PICTURES), provider=PROVIDERS["cuda"])
    assert min(row.psnr for row in rows) > 38


@pytest.mark.parametrize(("opset", "ir_version"), [(19, 9), (21, 10)])
def test_opsets(opset: int, ir_version: int, toy: Checkpoint, tmp_path: Path) -> None:
    export_checkpoint(toy, tmp_path / "toy.onnx", opset=opset)
    model = onnx.load_model(str(tmp_path / "toy.onnx"))
    assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)


def test_unwritable_places_are_a_sentence(toy: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot write"):
        export_checkpoint(toy, tmp_path / "missing" / "toy.onnx")
