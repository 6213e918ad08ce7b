"""Styles: found by name or path, read, checked, and made ready for frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from stylize_video.bounds import MAX_SIDE
from stylize_video.errors import StyleError, first_line
from stylize_video.styles.adapter import adapt_to_bgr, adapt_to_rgb
from stylize_video.styles.contract import (
    CONTRACT_VERSION,
    MAX_FILE_BYTES,
    MAX_METADATA,
    MIN_SIDE,
    PRECISIONS,
    Precision,
    StyleMetadata,
)
from stylize_video.styles.graph_bounds import find_excess
from stylize_video.text import counted
from stylize_video_assets.catalog import bundled_styles, find_bundled


@dataclass(frozen=True, eq=False)  # a graph is compared by its hash
class Style:
    """A checked style file.

    Attributes:
        name: how users call it; taken from the file's name.
        path: where it was read from.
        metadata: what the file says of itself, None in files of other makers.
        fixed_size: height and width that the graph insists on, None where any will do.
        model: the graph as it was read, without weights that nothing reads; sides that some exporters
            call 0 or -1 are free.
    """

    name: str
    path: Path
    metadata: StyleMetadata | None = field(repr=False)
    fixed_size: tuple[int, int] | None
    model: onnx.ModelProto = field(repr=False)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Style:
        """Read the style at a path, or the bundled one of that name.

        Raises:
            StyleError: there is none, or the file is damaged or no style.
        """
        path = find_style(name_or_path)
        model = read_model(path)
        _free_sides(model)
        _drop_unread_weights(model.graph)
        metadata = read_metadata(model, path)
        size = check_is_style(model, path)
        if excess := find_excess(model, size):
            raise StyleError(f"{path} is no style that can be trusted: {excess}")
        return cls(style_name(path), path, metadata, size, model)

    @property
    def precision(self) -> Precision:
        """The arithmetic inside; files of other makers count as fp32."""
        return self.metadata.precision if self.metadata else "fp32"

    @cached_property
    def sha256(self) -> str:
        """The hash of :attr:`model`, with its weights and metadata."""
        return hashlib.sha256(self.model.SerializeToString(deterministic=True)).hexdigest()

    def bgr_model(
        self, *, pixel_range: int = 1, round_early: bool = False, size: tuple[int, int] | None = None
    ) -> bytes:
        """The serialized graph, adapted to uint8 BGR frames by :func:`adapt_to_bgr`."""
        return adapt_to_bgr(
            self.model, pixel_range=pixel_range, round_early=round_early, size=size
        ).SerializeToString()

    def rgb_model(self) -> bytes | None:
        """The serialized graph, adapted to uint8 RGB frames by :func:`adapt_to_rgb`, where it can be had."""
        adapted = adapt_to_rgb(self.model)
        return adapted.SerializeToString() if adapted else None


def find_style(name_or_path: str | Path) -> Path:
    """A file that exists, else the bundled style of that name (a folder may have its name too).

    Raises:
        StyleError: neither is there; the sentence lists the bundled ones.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    bundled = find_bundled(str(name_or_path))
    if bundled is None:
        if name_or_path and path.is_dir():
            raise StyleError(
                f"{path} is a folder; --style takes an .onnx file or the name of a bundled style"
            )
        names = ", ".join(style.name for style in bundled_styles()) or "none"
        raise StyleError(
            f"there is no style {str(name_or_path)!r}: no such file, and the bundled styles are {names}"
        )
    return bundled.path


def style_name(path: Path) -> str:
    """``photo`` of ``photo.onnx`` and of its variant ``photo.int8.onnx``."""
    stem = path.name.removesuffix(".onnx")
    for precision in PRECISIONS:
        stem = stem.removesuffix(f".{precision}")
    return stem


def variant_path(path: Path, precision: Precision) -> Path:
    """Where the variant of a style lies: ``photo.int8.onnx`` beside ``photo.onnx``."""
    name = style_name(path)
    return path.with_name(f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx")


def find_variants(path: Path) -> Mapping[Precision, Path]:
    """The variants that exist of the style at ``path``, itself included."""
    found: dict[Precision, Path] = {p: v for p in PRECISIONS if (v := variant_path(path, p)).is_file()}
    return found


def files_of(styles: Iterable[Path]) -> list[Path]:
    """The files that may be read for these styles: they and their variants."""
    return [file for path in styles for file in (path, *find_variants(path).values())]


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
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise StyleError(f"{path} keeps its weights in another file; save it as one file (no external data)")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        reason = first_line(error)
        raise StyleError(f"{path} is not a valid ONNX model ({reason})") from error
    return model


def read_metadata(model: onnx.ModelProto, path: Path) -> StyleMetadata | None:
    """What the file at ``path`` says of itself, None in files of other makers.

    Raises:
        StyleError: the metadata is damaged, or of a newer contract.
    """
    length = sum(len(p.key) + len(p.value) for p in model.metadata_props)
    if length > MAX_METADATA:
        raise StyleError(f"{path} says {length:,} characters about itself; at most {MAX_METADATA:,} are read")
    try:
        metadata = StyleMetadata.from_props({p.key: p.value for p in model.metadata_props})
    except (ValueError, RecursionError) as error:
        raise StyleError(f"{path}: its style metadata is damaged ({error}); export it again") from error
    if metadata and metadata.contract > CONTRACT_VERSION:
        raise StyleError(
            f"{path} was exported for a newer release (contract {metadata.contract},"
            f" this one reads {CONTRACT_VERSION}): upgrade stylize-video"
        )
    return metadata


def check_is_style(model: onnx.ModelProto, path: Path) -> tuple[int, int] | None:
    """The height and width that the graph insists on, None where any will do.

    Raises:
        StyleError: it does not map one float picture ``[N, 3, H, W]`` to one.
    """
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialized]
    outputs = list(model.graph.output)

    def refused(reason: str) -> StyleError:
        return StyleError(f"{path} is no style: {reason}; a style reads one picture and returns one")

    if len(inputs) != 1 or len(outputs) != 1:
        raise refused(f"it has {counted(len(inputs), 'input')} and {counted(len(outputs), 'output')}")
    for role, value in (("input", inputs[0]), ("output", outputs[0])):
        tensor = value.type.tensor_type
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            kinds = {number: kind for kind, number in onnx.TensorProto.DataType.items()}
            kind = kinds.get(tensor.elem_type, "of no known type")  # damaged, or of a later ONNX
            raise refused(f"its {role} {value.name!r} is {kind}, not float32")
        dims = list(tensor.shape.dim)
        if role == "output" and not tensor.HasField("shape"):
            continue  # old exporters leave it out; the first frame will tell
        # Some exporters leave the channels open; whether three are right shows where the graph runs.
        channels, last = (dims[1].dim_value, dims[3].dim_value) if len(dims) == 4 else (0, 0)
        if len(dims) != 4 or channels not in (0, 3) or (not channels and last == 3) or dims[0].dim_value > 1:
            shape = ", ".join(str(d.dim_param or d.dim_value or "?") for d in dims)
            raise refused(f"its {role} {value.name!r} has shape [{shape}], not [N, 3, H, W]")
    height, width = (d.dim_value for d in list(inputs[0].type.tensor_type.shape.dim)[2:])
    if max(height, width) > MAX_SIDE:
        raise refused(f"it insists on pictures of {width}x{height}")
    if bool(height) != bool(width):
        raise refused("it fixes one side of its pictures and leaves the other free")
    if height and min(height, width) < MIN_SIDE:
        raise refused(f"it insists on pictures of {width}x{height}, too small to show any")
    return (height, width) if height else None


def _free_sides(model: onnx.ModelProto) -> None:
    """No side is 0 or less: paddle2onnx writes -1 and MXNet 0 where any will do."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape") and len(value.type.tensor_type.shape.dim) == 4:
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_value") and dim.dim_value <= 0:
                    dim.ClearField("dim_value")


def _drop_unread_weights(graph: onnx.GraphProto) -> None:
    """Each would be copied several times on the way to a session."""
    read = {value.name for value in graph.output}
    pending = list(graph.node)
    while pending:
        node = pending.pop()
        read.update(node.input)
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                pending += subgraph.node
                read.update(value.name for value in subgraph.output)
    read.update(value.name for value in graph.input)  # without its weight it would be a second picture
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in a model, those of its functions included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Tensors in attributes, those of subgraphs included."""
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(subgraph)
