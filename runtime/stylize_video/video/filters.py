"""What is done to decoded frames before they are pictures: FFmpeg's filters in a chain."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.error
from av.filter import Graph
from av.filter.context import FilterContext

from stylize_video.errors import SourceError, reason
from stylize_video.video.tonemap import cube_table

Filter = Callable[[Graph], FilterContext]
"""Adds itself to a graph."""


def deinterlacing(graph: Graph) -> FilterContext:
    """One whole frame for each interlaced one; progressive frames pass as they are."""
    return graph.add("bwdif", mode="send_frame", deint="interlaced")


def ten_bits(graph: Graph) -> FilterContext:
    """RGB of 10 bits, in which a table may be looked up."""
    return graph.add("format", pix_fmts="gbrp10le")


def tone_mapping(transfer: int) -> Filter:
    """SDR of HDR, by a table; ``transfer`` is FFmpeg's number of the HDR's transfer curve.

    Adding it raises SourceError where the table cannot be written.
    """

    def add(graph: Graph) -> FilterContext:
        try:
            with tempfile.TemporaryDirectory() as folder:  # FFmpeg reads the table while it makes the filter
                table = Path(folder) / "hdr.cube"
                table.write_text(cube_table(transfer))
                return graph.add("lut3d", file=str(table))
        except av.error.FFmpegError:
            raise
        except OSError as error:
            raise SourceError(
                "HDR needs a megabyte in the folder for temporary files, which cannot be written"
                f" ({reason(error)}); name another one in the environment variable TMPDIR"
            ) from error

    return add


@dataclass
class FilterChain:
    """Frames through a chain of filters: as many come out as go in, some later.

    The chain is built by the first frame, and again where size or pixel format change.
    """

    filters: Sequence[Filter]
    _graph: Graph | None = field(default=None, init=False)
    _shape: tuple[object, ...] = field(default=(), init=False)

    def apply(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Those that are ready once ``frame`` is in."""
        shape = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = self._build(frame), shape
        if self._graph:
            self._graph.vpush(frame)
            yield from _ready(self._graph)

    def flush(self) -> Iterator[av.VideoFrame]:
        """The last ones."""
        graph, self._graph, self._shape = self._graph, None, ()
        if graph:
            graph.vpush(None)
            yield from _ready(graph)

    def _build(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(frame.time_base),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        filters = [add(graph) for add in self.filters]
        graph.link_nodes(source, *filters, graph.add("buffersink"))
        graph.configure()
        return graph


def _ready(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
