"""The package as users get it: what imports what, and what a wheel holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support import ROOT, Command, command_line

LAYERS = ["stylize_video_assets", "stylize_video", "stylize_video_export", "stylize_video_train"]
FOLDERS = {"stylize_video_assets": "assets", "stylize_video": "runtime", "stylize_video_export": "export"}
FOLDERS["stylize_video_train"] = "train"
MAY_IMPORT = {
    "stylize_video_assets": set(),
    "stylize_video": {"stylize_video_assets"},
    "stylize_video_train": {"stylize_video", "stylize_video_assets"},
    "stylize_video_export": {"stylize_video", "stylize_video_assets", "stylize_video_train"},
}
FOUNDATIONS = {"styles", "video", "effects"}
"""Folders of the runtime that know nothing of each other."""
RUNTIME_MAY_IMPORT = {
    **{folder: set[str]() for folder in FOUNDATIONS},
    "resuming": {"video"},
    "jobs": FOUNDATIONS | {"resuming"},
    "live": FOUNDATIONS,
    "eval": FOUNDATIONS,
    "bench": FOUNDATIONS | {"jobs"},
    "doctor": FOUNDATIONS | {"live"},
}
PIP_WHEEL = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SCRIPTS = PYPROJECT["project"]["scripts"]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in (ROOT / FOLDERS[package] / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module or ""]
            ours = {name.split(".")[0] for name in names} & set(LAYERS)
            assert ours <= allowed, f"{path} imports {ours - allowed}"


@pytest.mark.parametrize("folder", sorted(RUNTIME_MAY_IMPORT))
def test_imports_between_folders_of_the_runtime_go_one_way(folder: str) -> None:
    runtime = ROOT / "runtime" / "stylize_video"
    folders = {path.name for path in runtime.iterdir() if (path / "__init__.py").exists()}
    assert set(RUNTIME_MAY_IMPORT) == folders
    for path in (runtime / folder).rglob("*.py"):
        modules = re.findall(r"^\s*from stylize_video\.(\w+)", path.read_text(encoding="utf-8"), re.M)
        wrong = (set(modules) & folders) - {folder} - RUNTIME_MAY_IMPORT[folder]
        assert not wrong, f"{path} imports {wrong}"


def modules_with_onnx_runtime() -> Iterator[str]:
    for package in LAYERS:
        for path in (ROOT / FOLDERS[package] / package).rglob("*.py"):
            if re.search(r"^(import|from) onnxruntime", path.read_text(), re.M):
                yield ".".join(path.relative_to(ROOT / FOLDERS[package]).with_suffix("").parts)


@pytest.mark.parametrize("module", sorted(modules_with_onnx_runtime()))
def test_onnx_runtime_keeps_nothing_in_the_home_and_reports_to_nobody(module: str, tmp_path: Path) -> None:
    """Whichever module is imported first; what it does, it does when it is loaded."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}, onnxruntime"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert [str(path) for path in tmp_path.rglob("*")] == []


def test_stylizing_never_imports_torch(clip: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['stylize-video', {str(clip)!r}, '-o', {str(tmp_path / 'out.mp4')!r}, '-q']\n"
        "from stylize_video.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "assert not {'torch', 'torchvision', 'stylize_video_train'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert (tmp_path / "out.mp4").stat().st_size > 1000


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_has_help_that_needs_no_heavy_import(script: str) -> None:
    call = command_line(SCRIPTS[script])[2].replace("; ", "\ntry:\n    ")
    heavy = "{'torch', 'cv2', 'onnxruntime', 'av', 'rich'} & set(sys.modules) or 'nothing heavy'"
    program = f"import sys\n{call}\nexcept SystemExit as end:\n    print(end.code, {heavy})"
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage" in done.stdout
    assert done.stdout.endswith("\n0 nothing heavy\n"), done.stderr


@pytest.mark.parametrize("script", sorted(SCRIPTS.keys() - {"stylize-camera", "stylize-doctor"}))
def test_a_command_by_itself_says_what_it_needs(script: str, command_here: Command) -> None:
    result = command_here(script)
    assert result.returncode == 2
    assert "Missing" in result.stderr or result.stderr.startswith("error: name a")
    assert "Traceback" not in result.stderr


def test_options_stand_in_groups(command_here: Command) -> None:
    text = command_here("stylize-video", "--help").stdout
    groups = ["Arguments", "Options", "Look", "Part, rate and size", "Encoding", "Pipes", "Device"]
    assert [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "] == groups
    assert text.index("Look:") < text.index("--smooth") < text.index("Encoding:") < text.index("--crf")


def test_the_wheel_holds_the_four_packages_and_the_styles(tmp_path: Path) -> None:
    subprocess.run(
        [*PIP_WHEEL, "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        timeout=240,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(LAYERS)
    shipped = {Path(name).name for name in names if name.endswith(".onnx")}
    bundled = {path.name for path in (ROOT / "assets/stylize_video_assets/styles").glob("*.onnx")}
    assert shipped == bundled
    assert {"photo.onnx", "photo.int8.onnx", "photo.fp16.onnx"} <= shipped
    assert "stylize_video/live/page.html" in names
    assert all(f"{package}/py.typed" in names for package in LAYERS)
    assert wheel.stat().st_size <= 12 * 2**20


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("win32", "ARM64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
    ],
)
@pytest.mark.parametrize("extra", ["", "cuda"])
def test_one_onnx_runtime_is_asked_for(system: str, machine: str, package: str, extra: str) -> None:
    """Two would overwrite each other's files, and GPU wheels are for few systems."""
    project = PYPROJECT["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    requirements = [Requirement(line) for line in wanted]
    here = {"sys_platform": system, "platform_machine": machine}
    asked = {r.name for r in requirements if r.marker is None or r.marker.evaluate(here)}
    assert {name for name in asked if name.startswith("onnxruntime")} == {package}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_what_a_page_links_to_is_there_and_in_the_source_distribution(page: str) -> None:
    shipped = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    shipped += ["README.md", "LICENSE", "pyproject.toml"]
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        if "://" in link:
            continue
        target = (ROOT / page).parent.joinpath(link).resolve()
        assert target.exists(), link
        assert any(target.is_relative_to(ROOT / name) for name in shipped), link
    assert all((ROOT / name).exists() for name in shipped)


@pytest.mark.parametrize(
    ("module", "main", "arguments"),
    [
        ("stylize_video_export.cli", "main", ["style.pth"]),
        ("stylize_video_train.cli", "main", ["style.jpg", "--content", "."]),
        ("stylize_video_train.experiments.cli", "main_compare_losses", ["a.jpg", "b.jpg"]),
        (
            "stylize_video_train.experiments.cli",
            "main_train_experiments",
            ["--content", "a", "--unseen", "b", "--style", "c.jpg", "--photo", "d.jpg", "-o", "e"],
        ),
    ],
)
def test_what_needs_torch_says_how_to_get_it(
    module: str, main: str, arguments: list[str], tmp_path: Path
) -> None:
    for name in {"style.pth", "style.jpg"}.intersection(arguments):
        (tmp_path / name).touch()
    program = (
        "import sys\n"
        "sys.modules['torch'] = None  # as if it were not installed\n"
        f"sys.argv[1:] = {arguments}\n"
        f"from {module} import {main}\n"
        f"{main}()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: torch is not installed, which this needs: pip install 'stylize-video[train]'\n"
    )
