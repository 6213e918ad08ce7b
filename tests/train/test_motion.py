from __future__ import annotations

from collections import Counter
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stylize_video_train import motion
from stylize_video_train.motion import MARGIN, MovingPair
from stylize_video_train.networks import RealtimeNet

SIZE = 64


def smooth_pictures(generator: torch.Generator, *, size: int = SIZE) -> Tensor:
    """Pictures that interpolation reproduces well."""
    coarse = torch.rand(2, 3, 6, 6, generator=generator)
    side = size + MARGIN
    return F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True).clamp(0, 1)


def _grey(pictures: Tensor) -> Tensor:
    luma = (pictures * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return luma.expand_as(pictures)


def draw(
    seed: int, *, warped: float, noise: float = 0.0, size: int = SIZE, smooth: bool = True
) -> tuple[Tensor, MovingPair]:
    generator = torch.Generator().manual_seed(seed)
    side = size + MARGIN
    pictures = (
        smooth_pictures(generator, size=size) if smooth else torch.rand(2, 3, side, side, generator=generator)
    )
    with mock.patch.object(motion, "WARPED_SHARE", warped):
        return pictures, MovingPair.draw(pictures, generator, noise=noise)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999))
def test_shifted_looks_are_crops_of_the_picture(seed: int) -> None:
    pictures, pair = draw(seed, warped=0, smooth=False)
    dx, dy = (int(v) for v in pair.places[0, 0])
    assert 0 <= dy < MARGIN
    assert 0 <= dx < MARGIN
    assert torch.equal(pair.first, pictures[..., :SIZE, :SIZE])
    assert torch.equal(pair.second, pictures[..., dy : dy + SIZE, dx : dx + SIZE])
    assert pair.visible.all()
    assert not pair.drift.any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999), st.sampled_from([0.0, 1.0]))
def test_a_style_that_moves_with_the_picture_is_steady(seed: int, warped: float) -> None:
    _, pair = draw(seed, warped=warped)
    # The identity follows light as its source does, up to colour: light counts as luma alone.
    assert pair.steadiness_loss(pair.first, pair.second) < (1e-3 if warped else 1e-9)
    if warped:
        grey = MovingPair(_grey(pair.first), pair.second, pair.places, pair.visible, pair.drift)
        assert grey.steadiness_loss(_grey(pair.first), _grey(pair.second)) < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_what_is_near_something_hidden_does_not_count(seed: int) -> None:
    """Strokes there change with what hides it."""
    generator = torch.Generator().manual_seed(seed)
    plain = torch.full((1, 3, SIZE + MARGIN, SIZE + MARGIN), 0.5)
    with mock.patch.object(motion, "WARPED_SHARE", 1.0):
        pair = MovingPair.draw(plain, generator, noise=0.0)
    lit = pair.second.flatten(2).mode(2).values[..., None, None]
    hidden = ((pair.second - lit).abs() > 1e-3).any(1).float()
    assert hidden.any()
    assert not (F.max_pool2d(hidden, 2 * MARGIN + 1, 1, MARGIN)[0].bool() & pair.visible).any()


def test_a_warped_look_is_tilted() -> None:
    """An affine map has steps of one length everywhere, a homography has not."""
    bends = []
    for seed in range(6):
        _, pair = draw(seed, warped=1)
        bends.append(float(pair.places.diff(n=2, dim=1).abs().max()))
    assert min(bends) > 5e-5


def test_a_warped_look_is_nearly_as_sharp() -> None:
    """Of white noise's variance linear interpolation keeps less than a half."""
    kept = []
    for seed in range(6):
        pictures, pair = draw(seed, warped=1, smooth=False)
        second = pair.second[:, :, pair.visible]
        kept.append(float(second.var() / pictures.var()))
    assert sum(kept) / len(kept) > 0.6


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9999))
def test_a_wrong_correspondence_is_not_steady(seed: int) -> None:
    _, pair = draw(seed, warped=1)
    wrong = MovingPair(pair.first, pair.second, pair.places + 3, pair.visible, pair.drift)
    without_drift = MovingPair(pair.first, pair.second, pair.places, pair.visible, 0 * pair.drift)
    with mock.patch.object(motion, "BORDER", 4):
        right, moved, unlit = (
            each.steadiness_loss(pair.first, pair.second) for each in (pair, wrong, without_drift)
        )
    assert moved > 2 * right
    if pair.drift.abs().mean() > 0.02:
        assert unlit > 2 * right


def test_a_pattern_fixed_to_the_frame_is_not_steady() -> None:
    pattern = torch.zeros(SIZE, SIZE)
    pattern[::2] = 1
    losses = {}
    for seed in range(60):
        _, pair = draw(seed, warped=0)
        fixed = pair.first * 0 + pattern
        losses[int(pair.places[0, 0, 1]) % 2] = pair.steadiness_loss(fixed, fixed)
    assert losses[0] == pytest.approx(0, abs=1e-4)
    assert losses[1] == pytest.approx(1, abs=1e-2)


def test_every_shift_comes_up() -> None:
    shifts = {tuple(draw(s, warped=0, size=17)[1].places[0, 0].tolist()) for s in range(1500)}
    assert len(shifts) == MARGIN**2


def test_every_phase_of_the_networks_grid_is_as_likely() -> None:
    stride = RealtimeNet.STRIDE
    phases = Counter(int(draw(s, warped=0, size=17)[1].places[0, 0, 0]) % stride for s in range(1500))
    assert set(phases) == set(range(stride))
    assert max(phases.values()) < 1.5 * min(phases.values())


def test_half_of_the_looks_are_warped() -> None:
    fractional = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        pictures = torch.rand(1, 3, 20, 20, generator=generator)
        places = MovingPair.draw(pictures, generator, noise=0.02).places
        fractional += bool((places != places.round()).any())
    assert 70 < fractional < 130


def test_warps_turn_zoom_and_tilt_but_stay_small() -> None:
    turned, zoomed = set(), set()
    own = draw(0, warped=0)[1].places
    own = own - own[0, 0]
    for seed in range(40):
        places = draw(seed, warped=1)[1].places
        right, down = places[32, 40] - places[32, 24], places[40, 32] - places[24, 32]
        turned.add(bool(right[1] > 0))
        zoomed.add(bool(right[0] * down[1] > 16 * 16))
        assert (places - own).abs().max() < MARGIN + 8
    assert turned == zoomed == {True, False}


def test_noise_is_small_random_and_stays_in_range() -> None:
    pictures, clean = draw(3, warped=0)
    _, noisy = draw(3, warped=0, noise=0.1)
    assert torch.equal(clean.places, noisy.places)
    assert 0 < (noisy.second - clean.second).abs().mean() < 0.1
    assert noisy.second.min() >= 0
    assert noisy.second.max() <= 1
    assert torch.equal(noisy.first, pictures[..., :SIZE, :SIZE])


@mock.patch.object(motion, "WARPED_SHARE", 0)
def test_noise_has_grains_of_every_size_and_one_strength() -> None:
    flat = torch.full((16, 3, SIZE + MARGIN, SIZE + MARGIN), 0.5)
    sizes = set()
    for seed in range(60):
        white, coarse = (
            MovingPair.draw(flat, torch.Generator().manual_seed(seed), noise=0.05, grain=grain).second - 0.5
            for grain in (1, 32)
        )
        assert float(coarse.std() / white.std()) == pytest.approx(1, rel=0.05)
        # What neighbours differ by halves whenever grains double.
        steps = float((coarse[..., 1:] - coarse[..., :-1]).std() / coarse.std())
        sizes.add(sum(steps < limit for limit in (1.1, 0.56, 0.28, 0.14, 0.07)))
    assert sizes == {0, 1, 2, 3, 4, 5}


@mock.patch.object(motion, "WARPED_SHARE", 0)
def test_noise_is_as_strong_at_every_phase_of_the_networks_grid_and_at_the_border() -> None:
    stride, draws = RealtimeNet.STRIDE, 400
    flat = torch.full((2, 3, 64 + MARGIN, 64 + MARGIN), 0.5)
    variance = torch.zeros(64, 64)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        noise = MovingPair.draw(flat, generator, noise=0.1, grain=8).second - 0.5
        variance += (noise / noise.std()).square().mean((0, 1)) / draws
    phases = variance.unfold(0, stride, stride).unfold(1, stride, stride).mean((0, 1))
    assert phases.diagonal().max() / phases.diagonal().min() < 1.07
    assert variance[0].mean() / variance.mean() == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("grain", [1, 32])
@pytest.mark.parametrize("warped", [0.0, 1.0])
def test_a_part_of_a_batch_gets_what_it_gets_in_the_whole(
    warped: float, grain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "WARPED_SHARE", warped)
    pictures = smooth_pictures(torch.Generator().manual_seed(0))
    whole, part = (
        MovingPair.draw(
            pictures[start:],
            torch.Generator().manual_seed(5),
            noise=0.02,
            grain=grain,
            share=share,
        )
        for start, share in ((0, None), (1, (1, 2)))
    )
    torch.testing.assert_close(part.second, whole.second[1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(part.drift, whole.drift[1:], atol=1e-6, rtol=0)
    assert torch.equal(part.places, whole.places)
    assert torch.equal(part.visible, whole.visible)


def test_the_border_and_what_is_hidden_do_not_count() -> None:
    first, second = torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 40, 40)
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    visible = torch.ones(40, 40, dtype=torch.bool)
    visible[22, 22] = False
    pair = MovingPair(first, second, torch.stack([x, y], -1).float(), visible, torch.zeros(1, 1, 40, 40))
    changed = second.clone()
    changed[..., :16, :] = 1
    changed[..., 22, 22] = 1
    assert pair.steadiness_loss(first, changed) < 1e-9
    changed[..., 16, 20] = 1
    assert pair.steadiness_loss(first, changed) > 1e-3
