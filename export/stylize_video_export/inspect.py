"""What a style file says of itself, and whether it is still right. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from stylize_video.errors import StyleError
from stylize_video.styles.contract import StyleMetadata
from stylize_video.styles.device import PROVIDERS
from stylize_video.styles.golden import golden_problem
from stylize_video.styles.guard import try_out
from stylize_video.styles.session import StyleSession
from stylize_video.styles.style import Style, find_style, find_variants
from stylize_video.styles.variants import variant_problem
from stylize_video_export.parity import runner

_RECIPE_KEYS = ("features", "style_layers", "content_layer", "style_weight", "steps", "batch", "image_size")


def check_style(name_or_path: Path, *, device: str = "auto") -> list[str]:
    """Prove a style file, by the hash of its weights and by running its golden pair on a device.

    Raises:
        StyleError: the weights are others, or the pair comes out wrong or without numbers, or there is none.
        DeviceError: the device cannot be used.
    """
    session = StyleSession(Style.load(name_or_path), device)
    problem = _golden_problem(session)
    if problem:
        raise StyleError(problem)
    return [f"{session.style.path}: golden pair right on {session.device}"]


def describe_style(name_or_path: Path) -> Iterator[str]:
    """Lines for people: name, recipe, licence, variants, sizes, opset, input and output.

    Raises:
        StyleError: there is no such style, or the file is none.
    """
    style = Style.load(find_style(name_or_path))
    metadata = style.metadata
    opset = max((o.version for o in style.model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    yield f"file       {style.path} ({style.path.stat().st_size / 1e6:.2f} MB, {style.precision})"
    if metadata:
        yield f"name       {metadata.name}"
        yield f"author     {metadata.author or 'not stated'}"
        yield f"licence    {metadata.licence or 'not stated'}"
        recipe = [f"{key} {value}" for key, value in _recipe_of(metadata).items()]
        yield f"recipe     {', '.join(recipe) or 'unknown'}"
        if network := metadata.recipe.get("network"):
            yield f"network    {', '.join(f'{key} {value}' for key, value in network.items())}"
        yield f"weights    sha256 {metadata.checkpoint_sha256 or 'unknown'}"
        if metadata.psnr is not None:
            fast = f"faster on {', '.join(metadata.faster_on)}" if metadata.faster_on else "not faster"
            yield f"quality    {metadata.psnr:.1f} dB against fp32; {fast} where it was exported"
        yield f"golden     {_golden_problem(StyleSession(style, 'cpu')) or 'right on cpu'}"
    else:
        yield "made by    another tool (no stylize-video metadata)"
    unused = unused_variants(style.path)
    variants = [
        f"{precision} {path.stat().st_size / 1e6:.2f} MB{' (not used)' if path in unused else ''}"
        for precision, path in find_variants(style.path).items()
    ]
    yield f"variants   {', '.join(variants) or 'none'}"
    yield from (f"not used   {reason}" for reason in unused.values())
    yield f"opset      {opset}"
    for role, values in (("input", style.model.graph.input), ("output", style.model.graph.output)):
        value = values[0]
        dims = ", ".join(str(d.dim_param or d.dim_value or "?") for d in value.type.tensor_type.shape.dim)
        yield f"{role:10} {value.name} float32 [{dims}]"


def unused_variants(path: Path) -> dict[Path, str]:
    """The files of a style that the runtime leaves out, and why: damaged, or of another training.

    Where fp32 is damaged or missing, the others have nothing to be compared with.
    """
    variants = find_variants(path)

    def problem_of(variant: Path) -> str | None:
        problem = None
        for reference in dict.fromkeys((variants.get("fp32", variant), variant)):
            try:
                return variant_problem(variant, reference, try_out)
            except StyleError as error:
                problem = str(error)
        return problem

    return {variant: problem for variant in variants.values() if (problem := problem_of(variant))}


def _recipe_of(metadata: StyleMetadata) -> Mapping[str, object]:
    """The part of the recipe that is shown; of an interrupted training with the steps that it took."""
    recipe = {key: metadata.recipe[key] for key in _RECIPE_KEYS if key in metadata.recipe}
    if "steps_taken" in metadata.recipe:
        recipe["steps"] = f"{metadata.recipe['steps_taken']} of {recipe.get('steps')}"
    return recipe


def _golden_problem(session: StyleSession) -> str | None:
    """What the runtime finds wrong, or that values are no numbers: in bytes those would be black."""
    if problem := golden_problem(session):
        return problem
    metadata, size = session.style.metadata, session.style.fixed_size
    if metadata is None or metadata.golden is None or size not in (None, metadata.golden.frame.shape[:2]):
        return None
    pixels = (metadata.golden.frame.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    values = runner(session.style.model, provider=PROVIDERS[session.device.kind])(pixels)
    if np.isfinite(values).all():
        return None
    return f"{session.style.path} gives values that are no numbers on its golden pair; export it again"
