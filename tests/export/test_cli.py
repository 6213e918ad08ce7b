"""``export-onnx`` as a command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import onnx
import pytest

from stylize_video.styles.style import Style, find_style, variant_path
from support import Command, draw_picture


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), draw_picture(index, 120, 90))
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_one_command_writes_every_variant(
    command_here: Command, checkpoint_file: Path, photos: Path, tmp_path: Path
) -> None:
    result = command_here(
        "export-onnx", checkpoint_file, "-o", tmp_path / "sea.onnx", "--precision", "all",
        "--calibrate", photos, "--name", "sea", "--author", "me", "--licence", "MIT",
        "--thumbnail", photos / "0.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "torch against ONNX Runtime" in result.stdout
    assert result.stdout.count("e-0") >= 10  # a table of small errors
    assert "picture" in result.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"sea.onnx", "sea.fp16.onnx", "sea.int8.onnx"}
    metadata = Style.load(tmp_path / "sea.int8.onnx").metadata
    assert metadata is not None
    assert metadata.thumbnail[:2] == b"\xff\xd8"

    shown = command_here("export-onnx", "--show", tmp_path / "sea.int8.onnx").stdout
    for fact in ("sea", "MIT", "vgg19", "int8", "opset      18", "right on cpu", "[N, 3, H, W]", "fp16"):
        assert fact in shown

    checked = command_here("export-onnx", "--check", tmp_path / "sea.fp16.onnx", "--device", "cpu")
    assert checked.returncode == 0
    assert "golden pair right on cpu" in checked.stdout


def test_variants_of_another_training_are_told(
    command_here: Command, checkpoint_file: Path, tmp_path: Path
) -> None:
    shutil.copy(find_style("photo"), tmp_path / "sea.int8.onnx")
    (tmp_path / "sea.fp16.onnx").write_bytes(b"no style")
    result = command_here("export-onnx", checkpoint_file, "-o", tmp_path / "sea.onnx", "--no-verify", "-q")
    assert result.returncode == 0
    for line in ("sea.fp16.onnx is not an ONNX file", "sea.int8.onnx is of another training than"):
        assert re.search(rf"WARNING: .*{line}.*; it is not used until it is exported again\n", result.stderr)

    shown = command_here("export-onnx", "--show", tmp_path / "sea.onnx").stdout
    assert re.search(r"variants   fp32 [\d.]+ MB, fp16 [\d.]+ MB \(not used\), int8 .* \(not used\)\n", shown)
    assert re.search(r"not used   .*sea\.int8\.onnx is of another training than .*sea\.onnx\n", shown)


def test_a_damaged_fp32_file_hides_nothing_of_its_variants(command_here: Command, tmp_path: Path) -> None:
    shutil.copy(variant_path(find_style("photo"), "int8"), tmp_path / "sea.int8.onnx")
    (tmp_path / "sea.onnx").write_bytes(b"no style")
    shown = command_here("export-onnx", "--show", tmp_path / "sea.int8.onnx")
    assert shown.returncode == 0
    assert re.search(r"variants   fp32 [\d.]+ MB \(not used\), int8 [\d.]+ MB\n", shown.stdout)
    assert "opset      " in shown.stdout


def test_checking_and_showing_need_no_torch() -> None:
    for option in ("--check", "--show"):
        program = (
            "import sys\n"
            "sys.modules['torch'] = None  # as if it were not installed\n"
            f"sys.argv = ['export-onnx', '{option}', 'photo']\n"
            "from stylize_video_export.cli import main\n"
            "main()\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr


def test_the_package_is_the_command() -> None:
    """Where the installed command is not on the path."""
    command = [sys.executable, "-m", "stylize_video_export", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.startswith("Usage: python -m stylize_video_export")


def test_a_style_of_other_makers_has_nothing_to_be_checked_by(command_here: Command, tmp_path: Path) -> None:
    model = onnx.load_model(str(find_style("photo")))
    del model.metadata_props[:]
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
    result = command_here("export-onnx", "--check", tmp_path / "other.onnx", "--device", "cpu")
    assert result.returncode == 2
    assert "no golden pair to check it by: it was not made by export-onnx" in result.stderr


def test_a_file_that_changed_fails_its_check(command_here: Command, tmp_path: Path) -> None:
    model = onnx.load_model(str(Style.load("photo").path))
    weights = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(weights) * 0.8
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
    result = command_here("export-onnx", "--check", tmp_path / "changed.onnx")
    assert result.returncode == 2
    assert "gives other pixels than when it was exported" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a checkpoint"),
        ([""], "name a checkpoint"),
        (["missing.pth"], "the checkpoint missing.pth does not exist"),
        (["CKPT", "--precision", "int4"], "unknown precision 'int4'"),
        (["CKPT", "--precision", "int8"], "--calibrate"),
        (["CKPT", "--calibrate", "nowhere"], "nowhere does not exist"),
        (["CKPT", "--device", "tpu"], "unknown device 'tpu'"),
        (["CKPT", "-o", "missing/a.onnx"], "the folder missing does not exist"),
        (["CKPT", "-o", "missing/a.onnx", "--precision", "fp16"], "the folder missing does not exist"),
        (["CKPT", "--calibrate", "."], "there are no pictures in ."),
        (["CKPT", "--thumbnail", "nothing.png"], "nothing.png does not exist"),
        (["CKPT", "-o", "a.jpg"], "name ends in .onnx, a.jpg does not"),
        (
            ["CKPT", "-o", "my.int8.onnx"],
            "my.int8.onnx has the name of a variant: name the fp32 file, my.onnx",
        ),
        (["CKPT", "--check", "photo"], "export nothing"),
        (["--check", "photo", "--show", "photo"], "one of them"),
        (["--check", "nothing.onnx"], "no style 'nothing.onnx'"),
        (["--show", "nothing.onnx"], "no style 'nothing.onnx'"),
    ],
)
def test_bad_input_is_one_sentence_before_torch_is_loaded(
    arguments: list[str],
    sentence: str,
    command_here: Command,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "stylize_video_export.export", None)  # as if torch were not installed
    words = [str(checkpoint_file) if word == "CKPT" else word for word in arguments]
    result = command_here("export-onnx", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "sentence"), [("toy.pth", "name ends in .onnx"), ("link.onnx", "is one of the inputs")]
)
def test_the_checkpoint_is_never_replaced(
    output: str, sentence: str, command_here: Command, checkpoint_file: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "toy.pth"
    shutil.copy(checkpoint_file, checkpoint)
    (tmp_path / "link.onnx").symlink_to(checkpoint)
    result = command_here("export-onnx", checkpoint, "-o", tmp_path / output)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert checkpoint.read_bytes() == checkpoint_file.read_bytes()
    assert (tmp_path / "link.onnx").is_symlink()


@pytest.mark.parametrize("name", ["toy.onnx", "toy.int8.onnx"])
def test_nor_is_one_that_has_the_name_of_a_style(
    name: str, command_here: Command, checkpoint_file: Path, photos: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / name
    shutil.copy(checkpoint_file, checkpoint)
    output = tmp_path / "toy.onnx"
    result = command_here(
        "export-onnx", checkpoint, "-o", output, "--precision", "all", "--calibrate", photos
    )  # fmt: skip
    assert result.returncode == 2
    assert "is one of the inputs; name another file with --output" in result.stderr
    assert checkpoint.read_bytes() == checkpoint_file.read_bytes()
