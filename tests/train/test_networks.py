from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stylize_video.styles.contract import MIN_SIDE
from stylize_video_train.networks import RealtimeNet, ResizeConv, StyleNetwork, build_network
from stylize_video_train.recipe import NetworkConfig, Recipe, RecipeError
from stylize_video_train.state import read_start

CONFIGS = {
    "realtime": NetworkConfig(width=8, blocks=2, head=4),
    "transformer": NetworkConfig(kind="transformer", width=4, blocks=2),
}


@pytest.fixture(params=sorted(CONFIGS))
def network(request: pytest.FixtureRequest) -> StyleNetwork:
    return lived_in(CONFIGS[request.param])


def lived_in(config: NetworkConfig, seed: int = 0) -> StyleNetwork:
    """A network in double precision whose weights and statistics are nothing special."""
    torch.manual_seed(seed)
    network = build_network(config).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.3, 3)
        if isinstance(module, ResizeConv):
            nn.init.normal_(module.bias)
    return network.eval()


_built: dict[str, StyleNetwork] = {}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(CONFIGS)),
    n=st.integers(1, 3),
    height=st.integers(MIN_SIDE, 75),
    width=st.integers(MIN_SIDE, 75),
    training=st.booleans(),
)
def test_every_size_keeps_its_shape(kind: str, n: int, height: int, width: int, training: bool) -> None:
    network = _built.setdefault(kind, lived_in(CONFIGS[kind])).train(training)
    frames = torch.rand(n, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        stylized = network(frames)
    assert stylized.shape == frames.shape
    assert stylized.dtype == frames.dtype
    assert torch.isfinite(stylized).all()


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(CONFIGS)),
    seed=st.integers(0, 99),
    height=st.integers(MIN_SIDE, 60),
    width=st.integers(MIN_SIDE, 60),
)
def test_folded_computes_what_eval_computes(kind: str, seed: int, height: int, width: int) -> None:
    network = lived_in(CONFIGS[kind], seed)
    frames = torch.rand(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network.folded()(frames), network(frames), rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    n=st.integers(1, 2),
    height=st.integers(MIN_SIDE, 60),
    width=st.integers(MIN_SIDE, 60),
)
def test_the_form_for_bytes_computes_the_same(seed: int, n: int, height: int, width: int) -> None:
    network = lived_in(CONFIGS["realtime"], seed)
    in_bytes = network.for_bytes()
    assert in_bytes is not None
    frames = torch.rand(n, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(in_bytes(frames), network(frames), rtol=1e-10, atol=1e-10)


def test_the_form_for_bytes_has_inputs_in_fours_and_outputs_in_sixteens() -> None:
    in_bytes = build_network(NetworkConfig()).for_bytes()
    assert in_bytes is not None
    kernels = [m.weight for m in in_bytes.modules() if isinstance(m, nn.Conv2d)]
    used = [k for k in kernels if k.shape[1] != 3]  # the folded network's own first one is not run
    assert len(used) == len(kernels) - 1
    assert all(k.shape[1] % 4 == 0 and k.shape[0] % 16 == 0 for k in used)
    assert build_network(CONFIGS["transformer"]).for_bytes() is None


def test_channels_are_ordered_only_once_folded() -> None:
    with pytest.raises(ValueError, match="fold"):
        ResizeConv(4, 3, hidden=False).shuffle_last()


def test_folded_leaves_the_original_alone_and_has_no_normalisation() -> None:
    network = lived_in(CONFIGS["realtime"])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = network.folded()
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not folded.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 5),
    out=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_resize_convolution_is_linear_upsampling_and_a_4x4_convolution(
    channels: int, out: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    module = ResizeConv(channels, out, hidden=False).double()
    nn.init.normal_(module.bias)
    x = torch.randn(2, channels, height, width, dtype=torch.float64)
    repeated = F.pad(F.interpolate(x, scale_factor=2.0, mode="nearest"), (2, 2, 2, 2), mode="replicate")
    interpolated = F.avg_pool2d(repeated, 2, stride=1)
    expected = F.conv2d(interpolated, module.weight, module.bias)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
    module.fold()
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


def test_resize_convolution_makes_no_steps_of_a_slope() -> None:
    module = ResizeConv(1, 1, hidden=False)
    slope = torch.arange(12.0).expand(1, 1, 5, 12)
    with torch.no_grad():
        row = module(slope)[0, 0, 4, 4:-4]
    torch.testing.assert_close(row.diff(), row.diff().mean().expand(15), rtol=1e-4, atol=1e-5)


def test_realtime_pixels_depend_on_their_neighbourhood_only() -> None:
    network = lived_in(NetworkConfig(width=8, blocks=1, head=4))
    frames = torch.rand(1, 3, 16, 256, dtype=torch.float64)
    changed = frames.clone()
    changed[..., 200:] = 1 - changed[..., 200:]
    with torch.no_grad():
        a, b = network(frames), network(changed)
    assert torch.equal(a[..., :128], b[..., :128])
    assert not torch.equal(a, b)


def test_a_batch_is_stylized_picture_by_picture(network: StyleNetwork) -> None:
    frames = torch.rand(3, 3, 21, 34, dtype=torch.float64)
    with torch.no_grad():
        together = network(frames)
        alone = torch.cat([network(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone)


def test_every_weight_gets_a_gradient(network: StyleNetwork) -> None:
    network.train()
    network(torch.rand(2, 3, 32, 32, dtype=torch.float64)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or "bias" in name, name


def test_residual_blocks_start_as_the_identity() -> None:
    network = build_network(CONFIGS["realtime"])
    assert isinstance(network, RealtimeNet)
    x = torch.randn(2, 8, 6, 7)
    assert torch.equal(network.body[0](x), x)


def test_transformer_has_the_parameter_names_of_public_checkpoints() -> None:
    names = set(build_network(NetworkConfig(kind="transformer", width=32, blocks=5)).state_dict())
    assert {"conv1.conv2d.weight", "in1.weight", "res5.conv2.conv2d.bias", "deconv3.conv2d.weight"} <= names
    assert not any("running" in name for name in names)


def test_pixel_range_of_255_is_a_change_of_units() -> None:
    config = CONFIGS["transformer"]
    unit = lived_in(config)
    bytes_wide = build_network(NetworkConfig(**{**config.to_dict(), "pixel_range": 255})).double().eval()
    bytes_wide.load_state_dict(unit.state_dict())
    frames = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(bytes_wide(frames), unit(frames * 255) / 255)


@pytest.mark.parametrize(
    "build",
    [
        lambda: NetworkConfig(kind="unet"),  # type: ignore[arg-type]
        lambda: NetworkConfig(width=0),
        lambda: NetworkConfig(pixel_range=100),
    ],
)
def test_impossible_networks_are_refused(build: Callable[[], NetworkConfig]) -> None:
    with pytest.raises(RecipeError, match=r"unknown network|at least 1|pixel_range"):
        build()


def test_norm_without_statistics_cannot_be_folded() -> None:
    network = build_network(CONFIGS["realtime"])
    assert isinstance(network, RealtimeNet)
    network.stem.norm = nn.BatchNorm2d(8, track_running_stats=False)
    with pytest.raises(ValueError, match="running statistics"):
        network.folded()


@pytest.mark.parametrize("size", [(121, 150), (24, 16)])
def test_a_plain_frame_comes_out_plain_to_its_edges(size: tuple[int, int]) -> None:
    network = read_start(Recipe().resolved()).build()
    for shade in (0.1, 0.5, 0.9):
        with torch.no_grad():
            plain = network(torch.full((1, 3, *size), shade))
        torch.testing.assert_close(plain, plain[..., :1, :1].expand_as(plain))  # no border, no grid
