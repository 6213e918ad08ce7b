"""The catalogue says what styles are after; without it they are there all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stylize_video_assets import catalog


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of one style, ``mine``, whose catalogue may be anything."""
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "mine.onnx").touch()
    monkeypatch.setattr(catalog, "files", lambda _: tmp_path)
    catalog._catalog.cache_clear()
    yield tmp_path
    catalog._catalog.cache_clear()


def test_the_shipped_catalogue_is_whole() -> None:
    assert catalog.catalog_problem() is None
    assert all(style.title and style.licence for style in catalog.bundled_styles())


def test_what_a_style_is_after(folder: Path) -> None:
    entry = {"title": "Mine", "author": "Me", "year": "2026", "licence": "MIT", "warping_error": 2}
    (folder / "catalog.json").write_text(json.dumps({"mine": entry, "other": {"noise_gain": 0.5}}))
    (style,) = catalog.bundled_styles()
    assert (style.name, style.title, style.warping_error, style.noise_gain) == ("mine", "Mine", 2, None)
    assert catalog.catalog_problem() is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff",
        b"[1]",
        b'{"mine": 3}',
        b'{"mine": {"title": 3}}',
        b'{"mine": {"warping_error": "2.9"}}',
        b'{"mine": {"painter": "Me"}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_catalogue_hides_no_style(
    content: bytes | None, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (folder / "catalog.json").write_bytes(content)
    assert [style.name for style in catalog.bundled_styles()] == ["mine"]
    assert "catalog.json is damaged (" in (catalog.catalog_problem() or "")
    assert len(caplog.records) == 1, "told once"
