from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from stylize_video_train.networks import StyleNetwork, build_network
from stylize_video_train.optimizer import NetworkOptimizer
from stylize_video_train.recipe import NetworkConfig, OptimizerKind


@pytest.fixture(params=["realtime", "transformer"])
def network(request: pytest.FixtureRequest) -> StyleNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(kind=request.param, width=8, blocks=2, head=8)
    return build_network(config).to(memory_format=torch.channels_last)


def backward(network: nn.Module, seed: int = 0) -> None:
    frames = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    network.zero_grad()
    (network(frames) - frames.flip(1)).square().mean().backward()


def moved(network: nn.Module, optimizer: NetworkOptimizer, *, learning_rate: float) -> dict[str, Tensor]:
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer.step(0.1 * learning_rate, learning_rate)
    return {name: parameter.detach() - before[name] for name, parameter in network.named_parameters()}


def test_muon_steps_equally_far_along_every_direction_of_a_kernel(network: StyleNetwork) -> None:
    backward(network)
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    for name, step in moved(network, NetworkOptimizer(network, "muon"), learning_rate=1e-2).items():
        # A residual block that begins as the identity gives what lies before its norm no gradient yet.
        if step.dim() != 4 or not gradients[name].any():
            continue
        lengths = torch.linalg.svdvals(step.flatten(1))
        assert lengths.max() < 3 * lengths.min(), name
        longest = 1e-2 * 0.2 * max(step.flatten(1).shape) ** 0.5
        assert 0.5 * longest < lengths.max() < 1.5 * longest, name
        assert (step * gradients[name]).sum() < 0, name


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_what_muon_leaves_moves_as_by_adam(network: StyleNetwork, kind: OptimizerKind) -> None:
    other = copy.deepcopy(network)
    ours, theirs = NetworkOptimizer(network, kind), torch.optim.Adam(other.parameters(), lr=3e-3)
    # Only the first step begins with the same gradients where kernels move differently.
    for step in range(1 if kind == "muon" else 3):
        backward(network, step)
        backward(other, step)
        ours.step(3e-3, 1e-2)
        theirs.step()
    for (name, one), two in zip(network.named_parameters(), other.parameters(), strict=True):
        if kind == "adam" or one.dim() != 4:
            assert torch.equal(one, two), name


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_a_state_goes_on_where_it_was_written(network: StyleNetwork, kind: OptimizerKind) -> None:
    optimizer = NetworkOptimizer(network, kind)
    for step in range(3):
        backward(network, step)
        optimizer.step(1e-3, 1e-2)
    restored = copy.deepcopy(network)
    copied = NetworkOptimizer(restored, kind)
    copied.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, own in ((network, optimizer), (restored, copied)):
        backward(net, 9)
        own.step(2e-3, 2e-2)
    for one, two in zip(network.parameters(), restored.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_steps_lower_a_loss(network: StyleNetwork, kind: OptimizerKind) -> None:
    frames = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        return nn.functional.mse_loss(network(frames), frames.flip(1))

    first, optimizer = loss().item(), NetworkOptimizer(network, kind)
    for _ in range(20):
        backward(network)
        optimizer.step(2e-3, 2e-2)
    assert loss().item() < 0.7 * first


def test_kernels_that_a_step_would_not_reach_are_an_error(network: StyleNetwork) -> None:
    with pytest.raises(ValueError, match="channels_last"):
        NetworkOptimizer(network.to(memory_format=torch.contiguous_format), "muon")
