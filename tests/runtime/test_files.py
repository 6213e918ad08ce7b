"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylize_video.files import (
    for_ffmpeg,
    put_in_place,
    replacing,
    sole_temporary_beside,
    temporary_beside,
)


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


def test_nobody_else_reads_what_is_being_written(tmp_path: Path) -> None:
    for make in (temporary_beside, sole_temporary_beside):
        temporary = make(tmp_path / "clip.mp4")
        assert temporary.stat().st_mode & 0o777 == 0o600
        put_in_place(temporary, tmp_path / "clip.mp4")
        plain = tmp_path / "plain"
        plain.touch()
        assert (tmp_path / "clip.mp4").stat().st_mode == plain.stat().st_mode


def test_what_a_killed_writer_left_is_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".clip.unfinished.mp4").symlink_to(tmp_path / "precious")
    temporary = sole_temporary_beside(tmp_path / "clip.mp4")
    assert temporary.name == ".clip.unfinished.mp4"
    assert not temporary.is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("clip.mp4", "clip.mp4"),
        ("a/rec-12:30.mp4", "./a/rec-12:30.mp4"),
        ("rec-12:30.mp4", "./rec-12:30.mp4"),
        ("/a/rec-12:30.mp4", "/a/rec-12:30.mp4"),
        ("rtsp://camera:554/1", "rtsp://camera:554/1"),
    ],
)
def test_a_colon_in_a_name_is_no_protocol(name: str, given: str) -> None:
    assert for_ffmpeg(name) == given
    if "://" not in name:
        assert for_ffmpeg(Path(name)) == given
