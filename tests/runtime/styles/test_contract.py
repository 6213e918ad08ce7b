"""The contract's metadata survives the way into an ONNX file and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylize_video.styles.contract import CONTRACT_VERSION, METADATA_PREFIX, GoldenPair, StyleMetadata

TEXT = st.characters(exclude_categories=["Cs"])
"""All that UTF-8 holds; for st.text alone Hypothesis tries every character with it, which takes seconds."""


@given(
    name=st.text(TEXT, max_size=20),
    licence=st.text(TEXT, max_size=20),
    thumbnail=st.binary(max_size=50),
    psnr=st.none() | st.floats(0, 99).map(lambda v: round(v, 2)),
    faster_on=st.lists(st.sampled_from(["cpu", "cuda"]), unique=True).map(tuple),
)
def test_metadata_round_trip(
    name: str, licence: str, thumbnail: bytes, psnr: float | None, faster_on: tuple[str, ...]
) -> None:
    metadata = StyleMetadata(
        name=name,
        licence=licence,
        thumbnail=thumbnail,
        psnr=psnr,
        faster_on=faster_on,
        precision="int8",
        checkpoint_sha256="ab",
        initializers_sha256="cd",
        recipe={"steps": 3, "network": {"kind": "realtime"}},
    )
    assert StyleMetadata.from_props(metadata.to_props()) == metadata


def test_every_key_is_prefixed() -> None:
    props = StyleMetadata(name="photo", author="me").to_props()
    assert props
    assert all(key.startswith(METADATA_PREFIX) for key in props)


def test_files_of_other_makers_have_no_metadata() -> None:
    assert StyleMetadata.from_props({"author": "somebody"}) is None


def test_golden_pair_round_trip() -> None:
    frame = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    pair = GoldenPair.from_json(GoldenPair(frame, 255 - frame).to_json())
    np.testing.assert_array_equal(pair.frame, frame)
    np.testing.assert_array_equal(pair.stylized, 255 - frame)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contract", "one"),
        ("golden", "{}"),
        ("golden", "[1]"),
        ("golden", '{"height": 2, "width": 2, "frame": "AAAA", "stylized": "AAAA"}'),
        ("golden", '{"height": 1e999, "width": 2, "frame": "", "stylized": ""}'),
        ("golden", "[" * 100_000),
        ("recipe", "{"),
        ("recipe", "[1]"),
        ("recipe", "[" * 100_000),
        ("precision", "int3"),
        ("thumbnail", "A"),
    ],
)
def test_damaged_metadata_is_a_value_error(key: str, value: str) -> None:
    props = {METADATA_PREFIX + "contract": str(CONTRACT_VERSION), METADATA_PREFIX + key: value}
    with pytest.raises(ValueError, match=r".+"):
        StyleMetadata.from_props(props)
