"""What is asked of an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylize_video_export.request import ExportError, check_request, proof_devices


@pytest.mark.parametrize(
    "name", ["toy.int8.onnx", "toy.fp16.onnx", "toy.fp32.onnx", ".onnx", "toy.ONNX", "toy"]
)
def test_names_that_are_none_of_an_fp32_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"name of a variant|name ends in \.onnx"):
        check_request(tmp_path / name, ("fp32",), calibrated=False)


def test_devices() -> None:
    assert proof_devices("cpu") == ("cpu",)
    assert proof_devices("auto")[0] == "cpu"
    with pytest.raises(ExportError, match="unknown device 'tpu'"):
        proof_devices("tpu")
