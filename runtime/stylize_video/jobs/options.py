"""What a job is asked to do besides its files: the same for every file of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from stylize_video.effects.look import Look
from stylize_video.styles.working_size import WorkingSize
from stylize_video.video.edit import Edit
from stylize_video.video.encoding import Encoding
from stylize_video.video.pipes import RawFormat


@dataclass(frozen=True)
class Options:
    """The keywords of :func:`~stylize_video.jobs.pipeline.stylize_file`, where they are explained."""

    look: Look = field(default_factory=Look)
    smooth: float = 0.0
    working_size: WorkingSize = field(default_factory=WorkingSize)
    edit: Edit = field(default_factory=Edit)
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    resume: bool = False
    max_frames: int | None = None
    raw: RawFormat | None = None
