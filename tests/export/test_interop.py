"""The same fp32 file, unchanged, in other engines: OpenCV, OpenVINO, ONNX Runtime Web."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from stylize_video_export.export import export_checkpoint
from stylize_video_export.parity import Pixels, runner
from stylize_video_train.checkpoint import Checkpoint

SHAPES = [(1, 3, 64, 64), (1, 3, 37, 50), (1, 3, 97, 61), (2, 3, 33, 48)]
TOLERANCE = 1e-3

WEB_RUNNER = """
import * as ort from 'onnxruntime-web';
import fs from 'fs';
import readline from 'readline';
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(fs.readFileSync(process.argv[2]));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { shape, input, output } = JSON.parse(line);
  const bytes = fs.readFileSync(input);
  const pixels = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const { stylized } = await session.run({ frames: new ort.Tensor('float32', pixels, shape) });
  fs.writeFileSync(output, new Uint8Array(stylized.data.buffer));
  console.log(JSON.stringify(stylized.dims));
}
"""


@pytest.fixture(scope="module")
def style_file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interop") / "toy.onnx"
    export_checkpoint(checkpoint, path, verify=False)
    return path


def assert_same(path: Path, run: Callable[[Pixels], Pixels]) -> None:
    reference = runner(onnx.load_model(str(path)))
    for seed, shape in enumerate(SHAPES):
        pixels = np.random.default_rng(seed).random(shape, np.float32)
        got = run(pixels)
        assert got.shape == shape
        np.testing.assert_allclose(got, reference(pixels), atol=TOLERANCE)


def test_opencv(style_file: Path) -> None:
    def run(pixels: Pixels) -> Pixels:
        network = cv2.dnn.readNetFromONNX(str(style_file))
        network.setInput(pixels)
        return np.asarray(network.forward(), np.float32)

    assert_same(style_file, run)


def test_openvino(style_file: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (pip install openvino)")
    core = openvino.Core()
    # The CPU plugin would compute in bfloat16 where it can: another precision, not another result.
    compiled = core.compile_model(str(style_file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(pixels: Pixels) -> Pixels:
        return np.asarray(compiled([pixels])[0], np.float32)

    assert_same(style_file, run)


@pytest.fixture(scope="session")
def web_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with onnxruntime-web installed in it, from the npm registry."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("web")
    (folder / "run.mjs").write_text(WEB_RUNNER)
    (folder / "package.json").write_text('{"private": true}')
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-web@1"]
    try:
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode:
        pytest.skip(f"onnxruntime-web could not be installed: {done.stderr.strip()[-200:]}")
    return folder


def test_onnxruntime_web(style_file: Path, web_folder: Path, tmp_path: Path) -> None:
    given, made = tmp_path / "in.bin", tmp_path / "out.bin"
    with subprocess.Popen(
        ["node", "run.mjs", str(style_file)],
        cwd=web_folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip

        def run(pixels: Pixels) -> Pixels:
            assert process.stdin
            assert process.stdout
            pixels.tofile(given)
            job = {"shape": pixels.shape, "input": str(given), "output": str(made)}
            process.stdin.write(json.dumps(job) + "\n")
            assert json.loads(process.stdout.readline()) == list(pixels.shape)
            return np.fromfile(made, np.float32).reshape(pixels.shape)

        assert_same(style_file, run)
    assert process.returncode == 0
