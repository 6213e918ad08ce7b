"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stylize_video.errors import SinkError
from stylize_video.files import (
    check_outputs,
    for_ffmpeg,
    make_folder,
    put_in_place,
    replacing,
    sole_temporary_beside,
    temporary_beside,
    write_text,
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


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_came_meanwhile_is_left_alone(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the disk knows no hard links, as a USB stick's file system (FAT)."""
    if not has_links:
        monkeypatch.setattr(os, "link", _refuse)
    target = tmp_path / "a.bin"
    for content in (b"first", b"second"):
        with contextlib.suppress(FileExistsError), replacing(target, overwrite=False) as temporary:
            temporary.write_bytes(content)
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_that_is_taken_for_nothing_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk knows no hard links an empty file takes it, which --resume would believe to be done."""
    monkeypatch.setattr(os, "link", _refuse)
    monkeypatch.setattr(os, "replace", _refuse)
    with pytest.raises(PermissionError), replacing(tmp_path / "a.bin", overwrite=False):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "new")
    assert not make_folder(tmp_path / "new")
    (tmp_path / "file").touch()
    for name in ("file", "missing/new"):
        with pytest.raises(OSError, match=r"File exists|No such file"):
            make_folder(tmp_path / name)


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


@pytest.mark.parametrize("name", ["n" * 251, "ü" * 125])
def test_long_names_are_those_of_a_hash_meanwhile(name: str, tmp_path: Path) -> None:
    target = tmp_path / f"{name}.mp4"
    target.touch()
    sole = sole_temporary_beside(target)
    assert sole.name == sole_temporary_beside(target).name
    assert sole.name != sole_temporary_beside(tmp_path / f"m{name[1:]}.mp4").name
    assert temporary_beside(target).suffix == sole.suffix == ".mp4"
    write_text(target, "whole")
    assert target.read_text() == "whole"


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        write_text(pipe, "whole")
        assert read.result(timeout=20) == "whole"
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not hasattr(os, "mknod"), reason="Windows has no devices in folders")
def test_a_device_that_is_full_stays_a_device_and_is_told(tmp_path: Path) -> None:
    device = tmp_path / "full"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        device.open("ab").close()
    except OSError:
        pytest.skip("devices can be made by root alone")
    with pytest.raises(SinkError, match=r"cannot write .*full: No space left"):
        write_text(device, "whole")
    assert device.is_char_device()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such name")
def test_standard_output_by_its_name_goes_where_it_goes(tmp_path: Path) -> None:
    """Also where that is a file: what was printed before stays, and the name is left alone."""
    link = tmp_path / "stdout.json"
    link.symlink_to("/dev/stdout")
    program = (
        "from pathlib import Path; from stylize_video.files import write_text\n"
        f"print('before'); write_text(Path({str(link)!r}), 'json\\n'); print('after')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == "before\njson\nafter\n"
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "stdout.json"]


def refusal(outputs: Mapping[str, Path | None], *inputs: Path | None) -> str:
    with pytest.raises(SinkError) as refused:
        check_outputs(outputs, inputs)
    return str(refused.value)


def test_results_take_no_inputs_place(tmp_path: Path) -> None:
    clip, link, other = (tmp_path / name for name in ("clip.mp4", "link.mp4", "hard.mp4"))
    clip.write_bytes(b"clip")
    link.symlink_to(clip)
    other.hardlink_to(clip)
    for target in (clip, link, other, tmp_path / "." / "clip.mp4"):
        assert "is one of the inputs; name another file with --json" in refusal({"--json": target}, clip)
    check_outputs({"--json": tmp_path / "new.json", "--plot": None}, [clip, None, tmp_path / "missing"])
    assert clip.read_bytes() == b"clip"


def test_results_take_no_place_of_each_other(tmp_path: Path) -> None:
    both = {"--json": tmp_path / "x", "--plot": tmp_path / "." / "x"}
    assert refusal(both) == f"--json and --plot both name {tmp_path / 'x'}; name two files"


def test_where_results_cannot_be_written_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal({"-o": tmp_path}) == f"{tmp_path} is a folder; name a file with -o"
    assert refusal({"-o": Path("a\0b")}) == "no file can be called 'a\\x00b'"
    assert "the folder" in refusal({"-o": tmp_path / "missing" / "x"})
    monkeypatch.setattr("stylize_video.files.tempfile.mkstemp", _refuse)
    assert refusal({"-o": tmp_path / "x"}) == f"cannot write {tmp_path / 'x'}: Permission denied"


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")
