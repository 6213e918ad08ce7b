"""What a job is asked to do besides its files: the same for every file of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral

from stylize_video.effects.look import Look
from stylize_video.effects.smoothing import check_smooth
from stylize_video.errors import SourceError
from stylize_video.styles.working_size import WorkingSize
from stylize_video.values import check_kind
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.pipes import RawFormat


@dataclass(frozen=True)
class Options:
    """The keywords of :func:`~stylize_video.jobs.pipeline.stylize_file`, where they are explained.

    Raises:
        StylizeError: one is of another type, or a number makes no sense.
    """

    look: Look = field(default_factory=Look)
    smooth: float = 0.0
    working_size: WorkingSize = field(default_factory=WorkingSize)
    edit: Edit = field(default_factory=Edit)
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    resume: bool = False
    max_frames: int | None = None
    raw: RawFormat | None = None

    def __post_init__(self) -> None:
        check_kind("look", self.look, Look)
        check_smooth(self.smooth)
        check_kind("working_size", self.working_size, WorkingSize)
        check_kind("edit", self.edit, Edit)
        check_kind("encoding", self.encoding, Encoding)
        if self.raw is not None:
            check_kind("raw", self.raw, RawFormat)
        frames = self.max_frames
        if frames is not None and (not isinstance(frames, Integral) or frames < 1):
            raise SourceError(f"the number of frames must be at least 1, got {frames!r}")
