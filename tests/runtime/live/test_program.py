"""What a command line asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

from stylize_video.live.program import find_styles
from stylize_video.style import find_style
from stylize_video_assets.catalog import bundled_styles


def test_styles_of_one_name_are_all_there(invert_style: Path, tmp_path: Path) -> None:
    """Wanted ones are numbered; a bundled one gives way to a wanted one."""
    paths = [tmp_path / folder / "photo.onnx" for folder in "abc"]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(invert_style, path)
    styles = find_styles((*map(str, paths), str(paths[0])))
    assert list(styles)[:3] == ["photo", "photo 2", "photo 3"]
    assert list(styles.values())[:3] == paths
    others = [style.name for style in bundled_styles() if style.name != "photo"]
    assert list(styles)[3:] == others


def test_a_bundled_style_is_there_once() -> None:
    styles = find_styles(("scream", "photo", "scream"))
    assert list(styles)[:2] == ["scream", "photo"]
    assert len(styles) == len(bundled_styles())
    assert styles["scream"] == find_style("scream")
