"""Checkpoints to export."""

from __future__ import annotations

from pathlib import Path

import pytest

from networks_support import CONFIGS, checkpoint_of, random_network
from stylize_video_train.checkpoint import Checkpoint


@pytest.fixture(params=CONFIGS, scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return checkpoint_of(random_network(CONFIGS[request.param]))


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "toy.pth"
    checkpoint_of(random_network(CONFIGS["realtime"])).save(path)
    return path
