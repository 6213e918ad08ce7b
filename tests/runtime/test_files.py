"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylize_video.files import replacing, temporary_beside


def test_the_target_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with replacing(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"")
    assert (tmp_path / "a.bin").stat().st_mode == plain.stat().st_mode


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        temporary_beside(tmp_path / "missing" / "a.bin")


def test_temporary_files_are_hidden_and_keep_the_ending(tmp_path: Path) -> None:
    temporary = temporary_beside(tmp_path / "clip.mp4")
    assert temporary.name.startswith(".clip.")
    assert temporary.suffix == ".mp4"
