from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stylize_video_train import losses
from stylize_video_train.features import FeatureModel
from stylize_video_train.losses import (
    PerceptualLoss,
    PooledStatistic,
    content_loss,
    gram_matrix,
    moments,
    out_of_range,
    style_loss,
    total_variation,
)
from stylize_video_train.recipe import StyleStatistics

activations = st.builds(
    lambda n, c, h, w, seed: torch.randn(
        n, c, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 999),
)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values.requires_grad_()


def slow_gram(features: Tensor) -> Tensor:
    n, channels, height, width = features.shape
    values = features.numpy()
    gram = np.zeros((n, channels, channels))
    for picture in range(n):
        for i in range(channels):
            for j in range(channels):
                total = sum(
                    values[picture, i, y, x] * values[picture, j, y, x]
                    for y in range(height)
                    for x in range(width)
                )
                gram[picture, i, j] = total / (channels * height * width)
    return torch.from_numpy(gram)


# --- Gram matrices ---------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(activations)
def test_gram_matches_the_definition(features: Tensor) -> None:
    torch.testing.assert_close(gram_matrix(features), slow_gram(features))


@settings(max_examples=25, deadline=None)
@given(activations)
def test_gram_is_symmetric_and_positive(features: Tensor) -> None:
    gram = gram_matrix(features)
    # Not bit for bit: some processors add up the two triangles in different orders.
    torch.testing.assert_close(gram, gram.transpose(1, 2), atol=1e-14, rtol=1e-12)
    assert torch.linalg.eigvalsh(gram).min() > -1e-10


@settings(max_examples=25, deadline=None)
@given(activations, st.integers(0, 99))
def test_gram_forgets_where_things_are(features: Tensor, seed: int) -> None:
    n, channels, height, width = features.shape
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    shuffled = features.flatten(2)[..., order].reshape(n, channels, height, width)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))
    torch.testing.assert_close(gram_matrix(features.flip(-1)), gram_matrix(features))


@settings(max_examples=25, deadline=None)
@given(activations, st.integers(0, 99))
def test_gram_follows_the_order_of_channels(features: Tensor, seed: int) -> None:
    order = torch.randperm(features.shape[1], generator=torch.Generator().manual_seed(seed))
    expected = gram_matrix(features)[:, order][:, :, order]
    torch.testing.assert_close(gram_matrix(features[:, order]), expected)


@settings(max_examples=25, deadline=None)
@given(activations, st.floats(-10, 10))
def test_gram_is_quadratic(features: Tensor, factor: float) -> None:
    torch.testing.assert_close(gram_matrix(features * factor), gram_matrix(features) * factor**2)


@settings(max_examples=25, deadline=None)
@given(activations)
def test_gram_of_a_repeated_picture_is_the_same(features: Tensor) -> None:
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 2, 3)), gram_matrix(features))


def test_gram_of_half_precision_is_exact_under_autocast() -> None:
    features = torch.randn(1, 8, 40, 40).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, gram_matrix(features.double()).float())


# --- Moments ---------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(activations)
def test_moments_match_numpy_and_add_up_to_the_gram_matrix(features: Tensor) -> None:
    covariance, mean = moments(features)
    channels = features.shape[1]
    for picture, values in enumerate(features.flatten(2).numpy()):
        expected = np.cov(values, bias=True).reshape(channels, channels) / channels
        np.testing.assert_allclose(covariance[picture], expected, atol=1e-12)
        np.testing.assert_allclose(mean[picture, 0], values.mean(1))
    squared = mean.transpose(1, 2) @ mean / channels
    torch.testing.assert_close(covariance + squared, gram_matrix(features))


@settings(max_examples=25, deadline=None)
@given(activations, st.floats(-10, 10))
def test_only_the_mean_knows_how_bright_it_is(features: Tensor, light: float) -> None:
    covariance, mean = moments(features)
    brighter = moments(features + light)
    torch.testing.assert_close(brighter[0], covariance, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(brighter[1], mean + light)


def test_moments_of_half_precision_are_exact_under_autocast() -> None:
    features = torch.randn(1, 8, 40, 40).bfloat16() + 100
    with torch.autocast("cpu", torch.bfloat16):
        found = moments(features)
    for half, exact in zip(found, moments(features.double()), strict=True):
        torch.testing.assert_close(half, exact.float(), atol=1e-4, rtol=1e-4)


# --- Single terms ----------------------------------------------------------------------


def test_content_loss_is_a_fraction_of_the_target() -> None:
    target = leaf(2, 3, 4, 5).detach()
    assert content_loss(target, target) == 0
    assert content_loss(torch.zeros_like(target), target) == pytest.approx(1, abs=1e-6)
    assert content_loss(3 * target, target) == pytest.approx(4, abs=1e-6)


def test_content_loss_matches_a_slow_reference() -> None:
    a, b = leaf(2, 2, 3, 3, seed=1).detach(), leaf(2, 2, 3, 3, seed=2).detach()
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    expected = sum((x - y) ** 2 for x, y in pairs) / (sum(y * y for _, y in pairs) + 1e-8 * len(pairs))
    assert content_loss(a, b).item() == pytest.approx(expected, rel=1e-9)


def test_style_loss_matches_a_slow_reference() -> None:
    grams, target = gram_matrix(leaf(3, 4, 5, 5).detach()), gram_matrix(leaf(1, 4, 5, 5, seed=9).detach())[0]
    energy = sum(v * v for v in target.flatten().tolist()) + 1e-8
    distances = [
        sum((a - b) ** 2 for a, b in zip(g.flatten().tolist(), target.flatten().tolist(), strict=True))
        for g in grams
    ]
    assert style_loss(grams, target).item() == pytest.approx(sum(distances) / 3 / energy, rel=1e-9)


def test_style_loss_of_a_blank_picture_is_one() -> None:
    target = gram_matrix(leaf(1, 4, 5, 5).detach())[0]
    assert style_loss(target[None], target) == 0
    assert style_loss(torch.zeros(2, 4, 4), target) == pytest.approx(1, abs=1e-6)


def test_total_variation_matches_a_slow_reference() -> None:
    picture = leaf(1, 2, 4, 3).detach()
    p = picture[0].numpy()
    down = [(p[c, y + 1, x] - p[c, y, x]) ** 2 for c in range(2) for y in range(3) for x in range(3)]
    right = [(p[c, y, x + 1] - p[c, y, x]) ** 2 for c in range(2) for y in range(4) for x in range(2)]
    expected = np.mean(down) + np.mean(right)
    assert total_variation(picture).item() == pytest.approx(expected)
    assert total_variation(torch.full((1, 3, 8, 8), 0.3)) == 0


def test_what_is_cut_off() -> None:
    picture = torch.tensor([-0.5, 0.0, 0.25, 1.0, 1.25, 3.0]).reshape(1, 1, 2, 3)
    assert out_of_range(picture).item() == pytest.approx((0.25 + 0.0625 + 4) / 6)
    assert out_of_range(picture.clamp(0, 1)) == 0


def test_gradients_agree_with_finite_differences() -> None:
    target = leaf(2, 3, 3, 4, seed=5).detach()
    assert torch.autograd.gradcheck(moments, leaf(2, 3, 3, 4))
    gram = gram_matrix(leaf(1, 3, 3, 4, seed=6).detach())[0]
    x = leaf(2, 3, 3, 4)
    assert torch.autograd.gradcheck(gram_matrix, x)
    assert torch.autograd.gradcheck(lambda v: content_loss(v, target), x)
    assert torch.autograd.gradcheck(lambda v: style_loss(gram_matrix(v), gram), x)
    assert torch.autograd.gradcheck(total_variation, x)
    assert torch.autograd.gradcheck(out_of_range, x)


# --- Style pooled over pictures --------------------------------------------------------


def test_pool_without_memory_is_the_mean_of_the_batch() -> None:
    pool = PooledStatistic((3, 3), 0.0).double()
    for seed in range(3):
        gram = gram_matrix(leaf(4, 3, 5, 5, seed=seed).detach())
        torch.testing.assert_close(pool(gram), gram.mean(0, keepdim=True))


def test_pool_is_the_unbiased_exponential_mean() -> None:
    pool = PooledStatistic((2, 2), 0.8).double()
    grams = [gram_matrix(leaf(2, 2, 4, 4, seed=seed).detach()) for seed in range(5)]
    for count, gram in enumerate(grams, start=1):
        weights = [0.8 ** (count - 1 - k) for k in range(count)]
        expected = sum(w * g.mean(0) for w, g in zip(weights, grams, strict=False)) / sum(weights)
        torch.testing.assert_close(pool(gram)[0], expected)


def test_pool_gives_the_gradient_of_the_batch() -> None:
    pool = PooledStatistic((3, 3), 0.9).double()
    pool(gram_matrix(leaf(2, 3, 4, 4, seed=3).detach()))
    pool.eval()
    x = leaf(2, 3, 4, 4)
    weight = leaf(1, 3, 3, seed=8).detach()
    torch.autograd.backward((pool(gram_matrix(x)) * weight).sum())
    y = leaf(2, 3, 4, 4)
    torch.autograd.backward((gram_matrix(y).mean(0, keepdim=True) * weight).sum())
    torch.testing.assert_close(x.grad, y.grad)


def test_pool_of_covariances_is_their_mean() -> None:
    """Not that of all pixels, in which pictures of different light would be rich in contrast."""
    flat = torch.tensor([0.0, 3.0, 6.0]).double().view(3, 1, 1, 1).expand(3, 2, 4, 4)
    features = flat + leaf(3, 2, 4, 4).detach()
    covariances, _ = moments(features)
    pool = PooledStatistic((2, 2), 0.0).double()
    torch.testing.assert_close(pool(covariances)[0], covariances.mean(0))


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_a_loss_forgets_what_it_was_shown(memory: float, model: FeatureModel) -> None:
    """Even what was no number, which a mean would never get rid of; and that there was something."""
    loss = perceptual(
        model, pictures(seed=1), memory=memory, scales=(1.0, 0.5), statistics="moments"
    ).double()
    frames = pictures(2, seed=2)
    wanted = loss(frames, frames)
    assert not torch.isfinite(loss(frames * torch.nan, frames)[1])
    loss.forget()
    assert loss(frames, frames) == wanted


def test_a_loss_moves_with_all_its_targets(model: FeatureModel) -> None:
    loss = perceptual(copy.deepcopy(model), pictures(seed=1), memory=0.5, statistics="moments").to("meta")
    buffers = dict(loss.named_buffers())
    assert {value.device.type for value in buffers.values()} == {"meta"}
    assert sum("target" in name for name in buffers) == 4


def test_pool_remembers_in_training_only() -> None:
    pool = PooledStatistic((3, 3), 0.5).eval()
    pool(torch.ones(2, 3, 3))
    assert pool.weight == 0
    assert torch.equal(pool.mean, torch.zeros(1, 3, 3))


# --- Together --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> FeatureModel:
    torch.manual_seed(0)
    return FeatureModel("squeezenet1_1", ["features.1", "features.4"], random_weights=True).double()


def perceptual(
    model: FeatureModel,
    style: Tensor,
    *,
    layers: Sequence[str] = ("features.1", "features.4"),
    weights: Sequence[float] | None = None,
    scales: Sequence[float] = (1.0,),
    content_scale: float | None = None,
    window: float = 1.0,
    memory: float | None = None,
    statistics: StyleStatistics = "gram",
    side: int | None = None,
) -> PerceptualLoss:
    return PerceptualLoss(
        model,
        style,
        content_layer="features.4",
        style_layers=layers,
        layer_weights=weights,
        scales=scales,
        content_scale=content_scale,
        window=window,
        memory=memory,
        statistics=statistics,
        side=side,
    )


def pictures(n: int = 1, *, size: int = 40, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("statistics", ["moments", "gram"])
@pytest.mark.parametrize("memory", [None, 0.0, 0.5])
def test_perfect_pictures_cost_nothing(
    statistics: StyleStatistics, memory: float | None, model: FeatureModel
) -> None:
    style = pictures(seed=1)
    loss = perceptual(model, style, scales=(1.0, 0.5), memory=memory, statistics=statistics).double()
    content, distance = loss(style, style)
    assert content.item() == 0
    assert distance.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("window", [1.0, 0.5])
@pytest.mark.parametrize("statistics", ["moments", "gram"])
def test_parts_of_the_style_picture_cost_nothing(
    statistics: StyleStatistics, window: float, model: FeatureModel
) -> None:
    """Dark above and bright below, as paintings are: no part holds that contrast, and none should."""
    style = pictures(size=64, seed=1) * torch.linspace(0.2, 1, 64, dtype=torch.float64)[:, None]
    seen = round(32 * window)
    parts = torch.cat(
        [style[..., y : y + seen, x : x + seen] for y in range(0, 64, seen) for x in range(0, 64, seen)]
    )

    def cost(side: int | None) -> float:
        loss = perceptual(model, style, window=window, memory=0.0, statistics=statistics, side=side)
        loss.window = 1.0  # they are as large as a window
        return float(loss.double()(parts, parts)[1])

    assert cost(32) == pytest.approx(0, abs=1e-12)
    assert cost(None) > 0.01


def test_without_a_window_parts_are_as_large_as_frames(model: FeatureModel) -> None:
    """A window has whole cells of eight pixels, a frame need not have them."""
    style = pictures(size=72, seed=1)
    parts = torch.cat([style[..., y : y + 36, x : x + 36] for y in (0, 36) for x in (0, 36)])
    loss = perceptual(model, style, memory=0.0, statistics="moments", side=36).double()
    assert loss(parts, parts)[1].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (20, 20), (33, 65)])
def test_parts_cover_the_style_picture(height: int, width: int, model: FeatureModel) -> None:
    """All of it counts, also where it is smaller than a frame or no multiple of one."""
    style, frames = torch.rand(1, 3, height, width, dtype=torch.float64), pictures(seed=2)

    def cost(style: Tensor) -> float:
        return float(perceptual(model, style, side=32)(frames, frames)[1])

    before = cost(style)
    for top in range(0, height, 10):
        for left in range(0, width, 10):
            painted = style.clone()
            painted[..., top : top + 10, left : left + 10] = 1
            assert cost(painted) != before


def test_perceptual_loss_is_the_sum_of_its_parts(model: FeatureModel) -> None:
    style, frames, stylized = pictures(seed=1), pictures(2, seed=2), pictures(2, seed=3)
    content, distance = perceptual(model, style, weights=(1.0, 3.0))(stylized, frames)
    features, targets = model(stylized), model(style)
    torch.testing.assert_close(content, content_loss(features["features.4"], model(frames)["features.4"]))
    parts = [
        style_loss(gram_matrix(features[k]), gram_matrix(targets[k])[0]) for k in ("features.1", "features.4")
    ]
    torch.testing.assert_close(distance, (parts[0] + 3 * parts[1]) / 4)


def test_moments_count_alike(model: FeatureModel) -> None:
    style, frames, stylized = pictures(seed=1), pictures(2, seed=2), pictures(2, seed=3)
    layer = "features.1"
    distance = perceptual(model, style, layers=(layer,), statistics="moments")(stylized, frames)[1]
    parts = zip(moments(model(stylized)[layer]), moments(model(style)[layer]), strict=True)
    torch.testing.assert_close(distance, sum(style_loss(a, b[0]) for a, b in parts) / 2)


def test_scales_are_averaged(model: FeatureModel) -> None:
    style, frames = pictures(seed=1), pictures(2, seed=2)
    full, half, both = (
        perceptual(model, style, scales=scales)(frames, frames)[1] for scales in ((1.0,), (0.5,), (1.0, 0.5))
    )
    torch.testing.assert_close(both, (full + half) / 2)


def test_a_smaller_look_sees_every_pixel() -> None:
    """Not those alone that lie where it looks: what is fine would flicker."""
    stripes = torch.zeros(1, 3, 8, 64)
    stripes[..., ::4] = 1
    seen = losses._rescale(stripes, 0.25)
    assert (seen[..., 2:-2] - 0.25).abs().max() < 0.05


def test_content_is_compared_at_its_scale(model: FeatureModel) -> None:
    style, frames = pictures(seed=1), pictures(2, seed=2)
    # Noise that changes from pixel to pixel all but vanishes at half the size.
    grain = 0.1 * (-1.0) ** torch.arange(40, dtype=torch.float64)
    full, half = (
        perceptual(model, style, scales=(1.0, 0.5), content_scale=scale)(frames + grain, frames)[0]
        for scale in (1.0, 0.5)
    )
    assert half < full / 3
    with pytest.raises(ValueError, match="one of"):
        perceptual(model, style, content_scale=0.25)


def test_a_window_sees_a_part_at_the_first_scale_only(model: FeatureModel) -> None:
    style, frames = pictures(seed=1), pictures(2, seed=2)
    stylized = pictures(2, seed=3).requires_grad_()
    loss = perceptual(model, style, window=0.4)
    content, distance = loss(stylized, frames, torch.Generator().manual_seed(0))
    torch.autograd.backward(content + distance)
    assert stylized.grad is not None
    seen = stylized.grad.abs().sum((0, 1)) > 0
    # A sixth of the picture; a stride may leave out the last row and column of the 16.
    assert 14**2 <= seen.sum() <= 16**2
    hidden = (~torch.nn.functional.max_pool2d(seen[None].double(), 5, 1, 2).bool()).double()
    repainted = stylized.detach() * (1 - hidden) + 0.5 * hidden
    torch.testing.assert_close(loss(repainted, frames, torch.Generator().manual_seed(0)), (content, distance))
    both = perceptual(model, style, window=0.4, scales=(1.0, 0.5), content_scale=0.5)
    again = stylized.detach().requires_grad_()
    content, distance = both(again, frames)
    torch.autograd.backward(content + distance)
    assert again.grad is not None
    assert (again.grad.abs().sum((0, 1)) > 0).float().mean() > 0.9


def test_a_window_sees_the_same_part_of_both(model: FeatureModel) -> None:
    loss, frames = perceptual(model, pictures(seed=1), window=0.4), pictures(2, seed=2)
    for seed in range(4):
        assert loss(frames, frames, torch.Generator().manual_seed(seed))[0] == 0


def test_the_generator_alone_places_the_window(model: FeatureModel) -> None:
    loss = perceptual(model, pictures(seed=1), window=0.4)
    frames = pictures(2, seed=2)

    def cost(seed: int) -> float:
        return float(loss(frames, frames, torch.Generator().manual_seed(seed))[1])

    assert cost(0) == cost(0)
    assert len({cost(seed) for seed in range(8)}) > 1


def test_perceptual_gradient_agrees_with_finite_differences(model: FeatureModel) -> None:
    loss = perceptual(model, pictures(size=24, seed=1))
    frames, stylized = pictures(size=24, seed=2), pictures(size=24, seed=3).requires_grad_()
    content, style = loss(stylized, frames)
    torch.autograd.backward(content + style)
    assert stylized.grad is not None
    direction = torch.randn(stylized.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    step = 1e-6

    def value(at: Tensor) -> float:
        with torch.no_grad():
            content, style = loss(at, frames)
        return float(content + style)

    slope = (value(stylized + step * direction) - value(stylized - step * direction)) / (2 * step)
    assert (stylized.grad * direction).sum().item() == pytest.approx(slope, rel=1e-4)


def test_pooled_style_lets_pictures_differ(model: FeatureModel) -> None:
    style = pictures(seed=1)
    frames = torch.cat([style * 0.5, style])
    pooled = perceptual(model, style, memory=0.0)(frames, frames)[1]
    each = perceptual(model, style)(frames, frames)[1]
    assert pooled < each


def test_one_weight_for_each_style_layer(model: FeatureModel) -> None:
    with pytest.raises(ValueError, match="as many weights"):
        perceptual(model, pictures(), weights=(1.0,))


def test_the_model_is_no_part_of_what_is_trained(model: FeatureModel) -> None:
    loss = perceptual(model, pictures())
    assert not [p for p in loss.parameters() if p.requires_grad]
    assert isinstance(loss, nn.Module)
