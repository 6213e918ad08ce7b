"""Frames to packets of a video codec, with the time stamps, colours and shape of their source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from stylize_video.frame import Alpha, Frame, TimedFrame
from stylize_video.video.encoding import Codec
from stylize_video.video.palette import Palette
from stylize_video.video.probe import has_alpha

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stylize_video.video.info import VideoInfo

_MATRICES = (1, 4, 7, 9)
"""FFmpeg's numbers of the matrices other than BT.601's that its converter knows."""

_ROUNDED = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.AREA
"""FFmpeg's converter rounds down by default: everything would come out half a level darker and greener.
Chroma is the mean of the pixels that share it."""

_VECTOR = 64
"""Bytes that FFmpeg's converters read or write at once, however many of them are in a line."""


class VideoEncoder:
    """The video stream of ``container``, and the encoder that fills it.

    Args:
        container: what the stream is added to.
        info: the source's time base, size, pixel aspect and colours.
        codec: what to encode with.
        options: of the encoder.
        bitrate: bits a second, None for a constant quality.

    Raises:
        ValueError, av.error.FFmpegError: there is no such encoder here.
    """

    def __init__(
        self,
        container: av.container.OutputContainer,
        info: VideoInfo,
        *,
        codec: Codec,
        options: Mapping[str, str],
        bitrate: int | None = None,
    ) -> None:
        self.frames = 0
        self._info, self._codec = info, codec
        self._format = av.VideoFormat(codec.pixels)
        self._reformatter = VideoReformatter()  # kept, or every frame would start threads and fill tables
        self._palette = Palette(info.width, info.height) if self._format.has_palette else None
        self._has_alpha = has_alpha(self._format) and not self._palette
        self._buffer: Frame | None = None
        self._kept: tuple[int, TimedFrame] | None = None
        self.stream = self._add_stream(container, dict(options), bitrate)

    def open(self) -> bytes | None:
        """Start the encoder before the first frame; returns the header of its stream."""
        self.stream.codec_context.open(strict=False)
        return self.stream.codec_context.extradata

    def encode(self, frame: TimedFrame, *, key: bool = False) -> list[av.Packet[av.VideoStream]]:
        """Packets that are ready once ``frame`` is in; ``key`` makes it a keyframe.

        Raises:
            av.error.FFmpegError: the encoder refuses the frame.
        """
        picture = self._picture(frame.image, frame.alpha)
        picture.pts = frame.pts
        picture.time_base = self._info.time_base
        if key:
            picture.pict_type = PictureType.I
        if self._codec.encoder == "libwebp_anim":
            first = self._kept[0] if self._kept else frame.pts
            self._kept = first, replace(frame, image=frame.image.copy())
        self.frames += 1
        return self.stream.encode(picture)

    def flush(self, over: int | None = None) -> list[av.Packet[av.VideoStream]]:
        """The last packets; the last frame is shown until ``over``, where that is known."""
        if over is not None and self._kept:
            self._hold(*self._kept, over)
        last = self.stream.encode(None)
        if self.frames <= len(last) <= 2:
            # x265 leaves decode times uninitialised in videos shorter than its reordering.
            for packet in last:
                packet.dts = packet.pts
        return last

    def _hold(self, first: int, last: TimedFrame, over: int) -> None:
        """Show the last frame of a WebP once more: libwebp makes one picture of both, which stays, from there
        on, as long as all before do on average."""
        pts = first + round((over - first) * self.frames / (self.frames + 1))
        if pts > last.pts:
            self.encode(replace(last, pts=pts))

    def _picture(self, image: Frame, alpha: Alpha | None) -> av.VideoFrame:
        pixels = self._filled(image, alpha)
        picture = av.VideoFrame.from_numpy_buffer(pixels, format="bgra" if self._has_alpha else "bgr24")
        if self._palette:
            picture = self._palette.apply(picture)
        elif not self._format.is_rgb:
            picture = self._reformatter.reformat(
                picture,
                format=self._codec.pixels,
                dst_colorspace=_matrix(self._info.colors.matrix),
                dst_color_range=ColorRange.JPEG if self._info.colors.range == 2 else ColorRange.MPEG,
                interpolation=_ROUNDED,
                threads=1,
            )
        elif picture.format.name != self._codec.pixels:
            picture = self._reformatter.reformat(picture, format=self._codec.pixels, threads=1)
        # The encoder stamps the frame's tags on the file: they are those of the source.
        picture.colorspace, picture.color_range = self._tags()
        picture.color_primaries = self._info.colors.primaries
        picture.color_trc = self._info.colors.transfer
        return picture

    def _filled(self, image: Frame, alpha: Alpha | None) -> Frame:
        """The picture where FFmpeg may read beyond its lines, with even sides where the codec wants them.

        An odd one gets its last row or column twice.
        """
        height, width = image.shape[:2]
        if self._buffer is None:
            pixels = _empty_picture(self.stream.height, self.stream.width, 4 if self._has_alpha else 3)
            if not (self._format.is_rgb or self._palette):  # else the encoder may read it later
                self._buffer = pixels
        else:
            pixels = self._buffer
        pixels[:height, :width] = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) if self._has_alpha else image
        if self._has_alpha and alpha is not None:
            pixels[:height, :width, 3] = alpha
        pixels[height:] = pixels[height - 1 : height]
        pixels[:, width:] = pixels[:, width - 1 : width]
        return pixels

    def _tags(self) -> tuple[int, int]:
        if self._format.is_rgb or self._palette:
            return 0, 2
        return self._info.colors.matrix, self._info.colors.range

    def _add_stream(
        self, container: av.container.OutputContainer, options: dict[str, str], bitrate: int | None
    ) -> av.VideoStream:
        info = self._info
        stream: Any = container.add_stream(self._codec.encoder, rate=info.rate)
        if not isinstance(stream, av.VideoStream):
            raise ValueError(f"{self._codec.encoder} is no video encoder here")
        stream.width = info.width + (info.width % 2 if self._codec.even else 0)
        stream.height = info.height + (info.height % 2 if self._codec.even else 0)
        stream.pix_fmt = self._codec.pixels
        stream.time_base = info.time_base
        codec = stream.codec_context
        # Whole frames side by side where the encoder can, which PyAV leaves out: a slice a thread takes
        # x264 more bytes for worse pictures, the more cores there are, and keeps fewer of them busy.
        if self._codec.encoder != "rawvideo":  # where a frame would only wait for the next
            codec.thread_type = "AUTO"
        codec.time_base = info.time_base
        codec.sample_aspect_ratio = info.pixel_aspect
        codec.colorspace, codec.color_range = self._tags()
        codec.color_primaries = info.colors.primaries
        codec.color_trc = info.colors.transfer
        if bitrate:
            codec.bit_rate = bitrate
        if tag := options.pop("tag", None):
            codec.codec_tag = tag
        if container.format.name == "avi":  # no reordering where the order is all that is stored
            codec.max_b_frames = 0
        stream.options = dict(options)
        return stream


def _empty_picture(height: int, width: int, channels: int) -> Frame:
    """Pixels ``[height, width, channels]`` with room for whole vectors behind each line and the last."""
    line = -(-width * channels // _VECTOR) * _VECTOR
    room = np.empty(height * line + _VECTOR, np.uint8)
    return np.ndarray((height, width, channels), np.uint8, room, strides=(line, channels, 1))


def _matrix(number: int) -> Colorspace:
    """The YUV matrix of the output: the one that the source was decoded with.

    A file that names none is decoded as BT.601 and so written as BT.601, equally
    unnamed: whatever a player makes of the source, it makes of the result.
    """
    return Colorspace(number) if number in _MATRICES else Colorspace.ITU601
