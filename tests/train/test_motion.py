from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stylize_video_train.motion import MAX_SHIFT, ShiftedPair


def draw(seed: int, *, noise: float = 0.0, size: int = 48) -> tuple[Tensor, ShiftedPair]:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(2, 3, size + MAX_SHIFT, size + MAX_SHIFT, generator=generator)
    return pictures, ShiftedPair.draw(pictures, generator, noise=noise)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999))
def test_both_looks_are_crops_of_the_picture(seed: int) -> None:
    pictures, pair = draw(seed)
    assert 0 <= pair.dy <= MAX_SHIFT
    assert 0 <= pair.dx <= MAX_SHIFT
    assert torch.equal(pair.first, pictures[..., :48, :48])
    assert torch.equal(pair.second, pictures[..., pair.dy : pair.dy + 48, pair.dx : pair.dx + 48])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999))
def test_a_style_that_moves_with_the_picture_is_steady(seed: int) -> None:
    _, pair = draw(seed)
    assert pair.steadiness_loss(1 - pair.first, 1 - pair.second) == 0


def test_a_pattern_fixed_to_the_frame_is_not_steady() -> None:
    pattern = torch.zeros(48, 48)
    pattern[::2] = 1
    losses = {}
    for seed in range(60):
        _, pair = draw(seed)
        losses[pair.dy % 2] = pair.steadiness_loss(pair.first * 0 + pattern, pair.second * 0 + pattern)
    assert losses[0] == 0
    assert losses[1] == 1


def test_every_shift_comes_up() -> None:
    shifts = {(pair.dy, pair.dx) for _, pair in (draw(seed, size=17) for seed in range(1500))}
    assert len(shifts) == (MAX_SHIFT + 1) ** 2


def test_noise_is_small_random_and_stays_in_range() -> None:
    pictures, clean = draw(3)
    _, noisy = draw(3, noise=0.1)
    assert (clean.dy, clean.dx) == (noisy.dy, noisy.dx)
    assert 0 < (noisy.second - clean.second).abs().mean() < 0.1
    assert noisy.second.min() >= 0
    assert noisy.second.max() <= 1
    assert torch.equal(noisy.first, pictures[..., :48, :48])


def test_the_border_does_not_count() -> None:
    first, second = torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 40, 40)
    pair = ShiftedPair(first, second, dy=3, dx=2)
    changed = second.clone()
    changed[..., :16, :] = 1
    assert pair.steadiness_loss(first, changed) == 0
    changed[..., 16, 20] = 1
    assert pair.steadiness_loss(first, changed) > 0
