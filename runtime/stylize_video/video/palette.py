"""256 colours for each frame, as GIF has them."""

from __future__ import annotations

import av
from av.filter import Graph


class Palette:
    """Reduces frames of one size to a palette of their own, with the error spread over neighbours."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = graph = Graph()
        self._source = graph.add(
            "buffer", video_size=f"{width}x{height}", pix_fmt="bgr24", time_base="1/1000"
        )
        split = graph.add("split")
        palette = graph.add("palettegen", stats_mode="single", reserve_transparent="0")
        reduced = graph.add("paletteuse", new="1", dither="sierra2_4a")
        self._source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(reduced, 1, 0)
        palette.link_to(reduced, 0, 1)
        reduced.link_to(graph.add("buffersink"))
        graph.configure()
        self._pts = 0

    def apply(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The frame, ``bgr24``, in its palette, ``pal8``; time stamps are left to the caller."""
        picture.pts = self._pts
        self._pts += 1
        self._source.push(picture)
        return self._graph.vpull()
