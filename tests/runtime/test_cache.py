"""What is remembered comes back; what cannot be remembered stops nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize_video.cache import cache_folder, key_of, recall, remember


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    named = tmp_path / "cache" / "mine"
    monkeypatch.setenv("STYLIZE_VIDEO_CACHE", str(named))
    return named


def test_facts_come_back(folder: Path) -> None:
    assert cache_folder() == folder
    assert recall("speed") is None
    remember("speed", "int8")
    assert recall("speed") == "int8"
    remember("speed", "fp32")
    assert recall("speed") == "fp32"
    assert [p.name for p in folder.iterdir()] == ["speed"]


def test_other_users_read_nothing(folder: Path) -> None:
    remember("speed", "int8")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    remember("speed", "fp32")
    assert (folder / "speed").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"x" * 100_000])
def test_rubbish_is_nothing(content: bytes, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "speed").write_bytes(content)
    assert recall("speed") is None


def test_a_folder_that_cannot_be_made_stops_nothing(folder: Path) -> None:
    folder.parent.write_text("a file in the way")
    remember("speed", "int8")
    assert recall("speed") is None


def test_no_home_and_relative_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STYLIZE_VIDEO_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder() == Path("/somewhere/stylize-video")
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("LOCALAPPDATA", "here")
    if sys.platform != "darwin":
        assert cache_folder() is None
        remember("speed", "int8")
        assert recall("speed") is None
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder() is None


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
"""All that UTF-8 holds; for st.text alone Hypothesis tries every character with it, which takes seconds."""


@settings(max_examples=25)
@given(st.lists(TEXT | st.binary(), max_size=4), st.lists(TEXT | st.binary(), max_size=4))
def test_other_facts_have_other_keys(one: list[str | bytes], other: list[str | bytes]) -> None:
    def as_bytes(facts: list[str | bytes]) -> list[bytes]:
        return [f.encode() if isinstance(f, str) else f for f in facts]

    assert (key_of(one) == key_of(other)) == (as_bytes(one) == as_bytes(other))
