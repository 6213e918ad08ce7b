"""Checkpoints to export, and exports that are quick: each network once, and not measured at full size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from networks_support import CONFIGS, ToOnnx, checkpoint_of, random_network
from stylize_video_export.to_onnx import DEFAULT_OPSET, ContractNetwork, to_onnx
from stylize_video_train.checkpoint import Checkpoint


@pytest.fixture(params=CONFIGS, scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return checkpoint_of(random_network(CONFIGS[request.param]))


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "toy.pth"
    checkpoint_of(random_network(CONFIGS["realtime"])).save(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def quick_to_onnx() -> Iterator[ToOnnx]:
    """``to_onnx`` in every export: torch takes seconds, and most tests are about what the graph becomes."""
    graphs: dict[str, onnx.ModelProto] = {}

    def remembered(network: ContractNetwork, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
        same = hashlib.sha256(f"{opset} {network.network.config} {network}".encode())
        for weight in network.state_dict().values():
            same.update(weight.numpy().tobytes())
        key = same.hexdigest()
        if key not in graphs:
            graphs[key] = to_onnx(network, opset=opset)
        graph = onnx.ModelProto()
        graph.CopyFrom(graphs[key])
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stylize_video_export.export.to_onnx", remembered)
        patch.setattr("stylize_video_export.variants._SPEED_SIZE", (45, 80))
        yield remembered
