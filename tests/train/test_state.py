"""One step of a training, by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor

from stylize_video_train import calibration
from stylize_video_train.calibration import perceptual_loss
from stylize_video_train.data import ContentFolder
from stylize_video_train.errors import TrainingDivergedError
from stylize_video_train.losses import out_of_range, total_variation
from stylize_video_train.motion import MARGIN, MovingPair
from stylize_video_train.recipe import NetworkConfig, Recipe
from stylize_video_train.state import TrainingState
from support import draw_picture

TOY: dict[str, Any] = {
    "network": NetworkConfig(width=8, blocks=1, head=8),
    "features": "squeezenet1_1",
    "content_layer": "features.1",
    "style_layers": ("features.1", "features.4"),
    "style_size": 64,
    "content_weight": 2.0,
    "style_weight": 3.0,
    "tv_weight": 700.0,
    "range_weight": 11.0,
    "steadiness_weight": 13.0,
    "image_size": 64,
    "batch": 2,
    "steps": 2,
    "identity_share": 0.0,
    "precision": "fp32",
}
STILL: dict[str, Any] = {"learning_rate": 1e-12, "muon_learning_rate": 1e-12}
"""Steps that change no weight."""

INDEPENDENT: dict[str, Any] = {
    "network": NetworkConfig(kind="transformer", width=4, blocks=1),
    "style_memory": None,
}
"""Nothing is computed from several pictures together."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / "photos" / f"{index}.png"), draw_picture(3 * index, 96, 80))
    cv2.imwrite(str(folder / "style.png"), draw_picture(40, 80, 80)[::-1])
    return folder


def begun(folder: Path, **values: Any) -> tuple[TrainingState, Tensor]:
    """A training before its first step, and a batch."""
    recipe = Recipe(**{**TOY, **values}).resolved()
    photos = ContentFolder(folder / "photos", size=recipe.image_size + MARGIN)
    loss = perceptual_loss(recipe, folder / "style.png", random_features=True)
    state = TrainingState(recipe, loss, photos, "cpu", style={})
    state.begin()
    return state, torch.stack([photos[0], photos[1]])


def test_the_total_is_the_weighted_sum_of_all_terms(folder: Path) -> None:
    state, batch = begun(folder)
    network, loss, recipe = copy.deepcopy(state.network).train(), copy.deepcopy(state.loss), state.recipe
    with torch.no_grad():
        # What lies outside of 0..1 is to count.
        for net in (network, state.network):
            net.up2.bias += 0.5  # type: ignore[union-attr, operator]
    at = state.step([batch])
    generator = torch.Generator().manual_seed(1)
    pair = MovingPair.draw(batch, generator, noise=recipe.noise, grain=recipe.grain)
    with torch.no_grad():
        first, second = network(torch.cat([pair.first, pair.second])).split(2)
        content, style = loss(first, pair.first, generator)
        steadiness = pair.steadiness_loss(first, second)
        variation, beyond = total_variation(first), out_of_range(first)
    assert min(float(term) for term in (content, style, variation, beyond, steadiness)) > 1e-4
    assert at.content == pytest.approx(float(content), rel=1e-3)
    assert at.style == pytest.approx(float(style), rel=1e-3)
    assert at.steadiness == pytest.approx(float(steadiness), rel=1e-3)
    assert at.range == pytest.approx(float(beyond), rel=1e-3)
    expected = 2 * content + 3 * style + 700 * variation + 11 * beyond + 13 * steadiness
    assert at.total == pytest.approx(float(expected), rel=1e-3)


def test_parts_move_the_weights_as_the_whole_does(folder: Path) -> None:
    whole, batch = begun(folder, **INDEPENDENT)
    alike = batch[:1].repeat(2, 1, 1, 1)  # so that each part has the whole's energy
    parts, _ = begun(folder, **INDEPENDENT, accumulate=2)
    whole.step([alike])
    parts.step([alike[:1], alike[1:]])
    for ours, theirs in zip(parts.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_a_step_is_no_longer_than_one(folder: Path) -> None:
    state, batch = begun(folder, content_weight=1e6)
    state.step([batch])
    lengths = [weight.grad.norm() for weight in state.network.parameters() if weight.grad is not None]
    assert float(torch.stack(lengths).norm()) == pytest.approx(1, rel=1e-3)


def test_every_step_sees_other_motion(folder: Path) -> None:
    state, batch = begun(folder, **STILL)
    first, second = state.step([batch]), state.step([batch])
    assert first.steadiness != pytest.approx(second.steadiness, rel=1e-3)


def test_neighbouring_seeds_share_no_motion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, seeds = MovingPair.draw, []

    def watched(pictures: Tensor, generator: torch.Generator, **options: Any) -> MovingPair:
        seeds.append(generator.initial_seed())
        return draw(pictures, generator, **options)

    monkeypatch.setattr(MovingPair, "draw", watched)
    for seed in range(2):
        state, batch = begun(folder, **STILL, seed=seed)
        for _ in range(2):
            state.step([batch])
    assert len(set(seeds)) == len(seeds) == 4


def test_style_counts_once_the_share_of_identity_is_over(folder: Path) -> None:
    state, batch = begun(folder, identity_share=0.5)
    assert [state.step([batch]).style > 0 for _ in range(2)] == [False, True]


def test_both_rates_follow_the_schedule(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, batch = begun(folder, steps=20, learning_rate=1e-3, muon_learning_rate=1e-2)
    rates: list[tuple[float, ...]] = []
    monkeypatch.setattr(state.optimizer, "step", lambda *both: rates.append(both))
    for _ in range(2):
        state.step([batch])
    assert rates == [pytest.approx((5e-4, 5e-3)), pytest.approx((1e-3, 1e-2))]


def test_pictures_that_come_to_nothing_any_more_are_a_divergence(folder: Path) -> None:
    """Long before a loss is no number."""
    state, batch = begun(folder)
    with torch.no_grad():
        state.network.up2.bias += 1e4  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingDivergedError, match="diverged at step 1"):
        state.step([batch])


def test_a_style_that_photos_have_already_gets_no_boundless_weight(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_LEAST_DISTANCE", 50.0)
    state, _ = begun(folder)
    photos = ContentFolder(folder / "photos", size=state.recipe.image_size + MARGIN)
    weight = calibration.calibrated_style_weight(state.recipe, state.loss, photos)
    assert weight == pytest.approx(state.recipe.style_balance / 50)


def test_statistics_stay_once_they_are_frozen(folder: Path) -> None:
    state, batch = begun(folder, freeze_norm_at=0.5)
    seen = [state.network.stem.norm.running_mean.clone()]  # type: ignore[union-attr, operator]
    for _ in range(2):
        state.step([batch])
        seen.append(state.network.stem.norm.running_mean.clone())  # type: ignore[union-attr, operator]
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])
