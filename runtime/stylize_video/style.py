"""Styles: found by name or path, read, checked, and made ready for frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from stylize_video.adapter import adapt_to_frames
from stylize_video.contract import CONTRACT_VERSION, MAX_FILE_BYTES, StyleMetadata
from stylize_video.errors import StyleError
from stylize_video_assets.catalog import bundled_styles, find_bundled


@dataclass(frozen=True)
class Style:
    """A checked style file.

    Attributes:
        name: how users call it; taken from the file's name.
        path: where it was read from.
        metadata: what the file says of itself, None in files of other makers.
        frames_model: the serialized graph, adapted to uint8 BGR frames.
    """

    name: str
    path: Path
    metadata: StyleMetadata | None
    frames_model: bytes

    @classmethod
    def load(cls, name_or_path: str | Path) -> Style:
        """Read the style at a path, or the bundled one of that name.

        Raises:
            StyleError: there is none, or the file is damaged or no style.
        """
        path = find_style(name_or_path)
        model = read_model(path)
        try:
            metadata = StyleMetadata.from_props({p.key: p.value for p in model.metadata_props})
        except ValueError as error:
            raise StyleError(f"{path}: its style metadata is damaged ({error}); export it again") from error
        if metadata and metadata.contract > CONTRACT_VERSION:
            raise StyleError(
                f"{path} was exported for a newer release (contract {metadata.contract},"
                f" this one reads {CONTRACT_VERSION}): upgrade stylize-video"
            )
        check_is_style(model, path)
        return cls(path.name.split(".")[0], path, metadata, adapt_to_frames(model).SerializeToString())


def find_style(name_or_path: str | Path) -> Path:
    """A path that exists, else the bundled style of that name.

    Raises:
        StyleError: neither is there; the sentence lists the bundled ones.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise StyleError(f"{path} is a folder; --style takes an .onnx file or the name of a bundled style")
    bundled = find_bundled(str(name_or_path))
    if bundled is None:
        names = ", ".join(style.name for style in bundled_styles()) or "none"
        raise StyleError(
            f"there is no style {str(name_or_path)!r}: no such file, and the bundled styles are {names}"
        )
    return bundled.path


def read_model(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file that may come from anywhere.

    Raises:
        StyleError: it cannot be read, is no valid ONNX model, or keeps tensors in
            other files (a style is one file; paths in it are never followed).
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise StyleError(
                f"{path} has {size / 2**20:.0f} MB; no style is larger than {MAX_FILE_BYTES >> 20}"
            )
        content = path.read_bytes()
    except OSError as error:
        raise StyleError(f"cannot read the style {path}: {error.strerror}") from error
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise StyleError(f"{path} is not an ONNX file, or is damaged") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise StyleError(f"{path} keeps its weights in another file; save it as one file (no external data)")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise StyleError(f"{path} is not a valid ONNX model ({reason})") from error
    return model


def check_is_style(model: onnx.ModelProto, path: Path) -> None:
    """Raise StyleError unless ``model`` maps float pictures ``[N, 3, H, W]`` to such pictures."""
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialized]
    outputs = list(model.graph.output)

    def refuse(reason: str) -> StyleError:
        return StyleError(f"{path} is no style: {reason}; a style reads one picture and returns one")

    if len(inputs) != 1 or len(outputs) != 1:
        raise refuse(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    for role, value in (("input", inputs[0]), ("output", outputs[0])):
        tensor = value.type.tensor_type
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise refuse(f"its {role} {value.name!r} is {kind}, not float32")
        dims = list(tensor.shape.dim)
        channels = dims[1].dim_value if len(dims) == 4 else 0
        # Some exporters leave the output's channels open; the input's must be there.
        if len(dims) != 4 or (channels != 3 and (role == "input" or channels)):
            shape = [d.dim_param or (d.dim_value or "?") for d in dims]
            raise refuse(f"its {role} {value.name!r} has shape {shape}, not [N, 3, H, W]")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in a graph, those of nodes and subgraphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _tensors(subgraph)
