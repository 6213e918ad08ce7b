"""The golden pair in a style file: a small picture, and what the style made of it at export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylize_video.frame import psnr

if TYPE_CHECKING:
    from stylize_video.styles.session import StyleSession

GOLDEN_PSNR = 38.0
"""Least PSNR in dB that a golden pair must reach; other machines round a little differently."""


def golden_problem(session: StyleSession) -> str | None:
    """Run the golden pair in the style's metadata: None where it comes out right, else what is wrong."""
    golden = session.style.metadata.golden if session.style.metadata else None
    if golden is None:
        return f"{session.style.path} has no golden pair; export it with export-onnx"
    stylized = session.stylize(golden.frame[..., ::-1])[..., ::-1]
    likeness = psnr(stylized, golden.stylized)
    if likeness < GOLDEN_PSNR:
        return (
            f"{session.style.path} gives other pixels than when it was exported:"
            f" {likeness:.1f} dB on its golden pair, at least {GOLDEN_PSNR:.0f} expected"
        )
    return None
