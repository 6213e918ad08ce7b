"""The contract between an exported style and whatever runs it.

A style is one ONNX file with one input and one output, both float32
``[N, 3, H, W]``, RGB, 0..1, with N, H and W free (H, W at least :data:`MIN_SIDE`).
FFmpeg's ONNX filter and VapourSynth's vs-mlrt expect the same. What a style knows of
itself stands in ``metadata_props`` under :data:`METADATA_PREFIX`.

What a style file promises stands here alone; this module imports neither ONNX nor torch.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CONTRACT_VERSION = 1
INPUT_NAME = "frames"
OUTPUT_NAME = "stylized"
METADATA_PREFIX = "stylize_video."
MIN_SIDE = 16
"""Smallest height and width, in pixels, that every style accepts."""

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
"""fp32 runs anywhere; fp16 is for GPUs, int8 for CPUs. Inputs and outputs are float32 in all."""

MAX_FILE_BYTES = 512 * 2**20
"""No style is anywhere near this large; a bigger file is refused before it is read."""

MAX_METADATA = 2**23
"""Characters that a file may say about itself; a golden pair and a thumbnail take some 200,000."""

_MAX_GOLDEN_SIDE = 512
"""Pixels."""

_LARGEST_RECEPTIVE_FIELD = 4096
"""Pixels of a radius or a stride that is believed; no network for pictures comes near."""


@dataclass(frozen=True)
class GoldenPair:
    """A small input and what the style made of it, as 8-bit RGB ``[H, W, 3]``.

    Any installation can prove a style file with it, without the network it came from.
    """

    frame: NDArray[np.uint8]
    stylized: NDArray[np.uint8]

    def to_json(self) -> str:
        height, width = self.frame.shape[:2]
        pixels = {"frame": self.frame, "stylized": self.stylized}
        encoded = {name: base64.b64encode(p.tobytes()).decode() for name, p in pixels.items()}
        return json.dumps({"height": height, "width": width, **encoded})

    @classmethod
    def from_json(cls, text: str) -> GoldenPair:
        """Raises ValueError where ``text`` holds no golden pair."""
        try:
            values = _from_json(text)
            shape = (int(values["height"]), int(values["width"]), 3)
            if not all(1 <= side <= _MAX_GOLDEN_SIDE for side in shape[:2]):
                raise ValueError(f"a golden pair of {shape[1]}x{shape[0]}")
            frame, stylized = (
                np.frombuffer(base64.b64decode(values[name]), np.uint8).reshape(shape)
                for name in ("frame", "stylized")
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a golden pair: {error!r}") from error
        return cls(frame, stylized)


@dataclass(frozen=True)
class StyleMetadata:
    """What a style file says about itself; every field may be empty in foreign files.

    ``recipe`` is the training's recipe, ``checkpoint_sha256`` the hash of the weights
    it was exported from, ``initializers_sha256`` that of the file's own
    (:func:`stylize_video.styles.golden.initializers_sha256`), ``thumbnail`` a JPEG. ``psnr`` compares an
    fp16 or int8 variant with fp32 in dB; ``faster_on`` names the devices (``cpu``, ``cuda``) of the machine
    that exported it where it was the faster of the two: a record, as where a style runs that is measured
    anew. ``receptive_field`` is that of fp32's graph: (radius, stride) as in
    :class:`stylize_video.styles.receptive_field.ReceptiveField`; in files it is called ``neighbourhood``.
    """

    name: str = ""
    author: str = ""
    licence: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str = ""
    initializers_sha256: str = ""
    golden: GoldenPair | None = None
    thumbnail: bytes = b""
    precision: Precision = "fp32"
    psnr: float | None = None
    faster_on: tuple[str, ...] = ()
    receptive_field: tuple[int, int] | None = None
    contract: int = CONTRACT_VERSION

    def to_props(self) -> dict[str, str]:
        """As ``metadata_props`` of an ONNX file; empty fields are left out.

        Raises:
            TypeError, ValueError: the recipe holds what JSON cannot: an object, or no finite number.
        """
        values = {
            "contract": str(self.contract),
            "name": self.name,
            "author": self.author,
            "licence": self.licence,
            "recipe": json.dumps(self.recipe, sort_keys=True, allow_nan=False) if self.recipe else "",
            "checkpoint_sha256": self.checkpoint_sha256,
            "initializers_sha256": self.initializers_sha256,
            "golden": self.golden.to_json() if self.golden else "",
            "thumbnail": base64.b64encode(self.thumbnail).decode(),
            "precision": self.precision,
            "psnr": f"{self.psnr:.2f}" if self.psnr is not None else "",
            "faster_on": ",".join(self.faster_on),
            "neighbourhood": "{},{}".format(*self.receptive_field) if self.receptive_field else "",
        }
        return {METADATA_PREFIX + key: value for key, value in values.items() if value}

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> StyleMetadata | None:
        """The metadata in ``metadata_props``, None where there is none of ours.

        Raises:
            ValueError: metadata of ours is there but damaged.
        """
        values = {
            k.removeprefix(METADATA_PREFIX): v for k, v in props.items() if k.startswith(METADATA_PREFIX)
        }
        if "contract" not in values:
            return None
        golden = values.get("golden")
        recipe = _from_json(values.get("recipe") or "{}")
        if not isinstance(recipe, dict):
            raise ValueError("its recipe is no table")
        precision = values.get("precision", "fp32")
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}")
        return cls(
            contract=int(values["contract"]),
            name=values.get("name", ""),
            author=values.get("author", ""),
            licence=values.get("licence", ""),
            recipe=recipe,
            checkpoint_sha256=values.get("checkpoint_sha256", ""),
            initializers_sha256=values.get("initializers_sha256", ""),
            golden=GoldenPair.from_json(golden) if golden else None,
            thumbnail=base64.b64decode(values.get("thumbnail", "")),
            precision=precision,
            psnr=float(values["psnr"]) if "psnr" in values else None,
            faster_on=tuple(name for name in values.get("faster_on", "").split(",") if name),
            receptive_field=_pair(values.get("neighbourhood", "")),
        )


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def _pair(text: str) -> tuple[int, int] | None:
    """``12,4`` as two numbers above 0, None for nothing."""
    if not text:
        return None
    first, second = (int(number) for number in text.split(","))
    if not (0 <= first <= _LARGEST_RECEPTIVE_FIELD and 0 < second <= _LARGEST_RECEPTIVE_FIELD):
        raise ValueError(f"a receptive field of {text}")
    return first, second
