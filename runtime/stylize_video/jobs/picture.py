"""One picture in, one picture out."""

from __future__ import annotations

import logging
from pathlib import Path

from stylize_video.effects.look import Look
from stylize_video.errors import SinkError
from stylize_video.files import behind_links
from stylize_video.frame import resized
from stylize_video.jobs.pipeline import Result
from stylize_video.styles.session import StyleSession
from stylize_video.styles.working_size import WorkingSize
from stylize_video.stylizer import Stylizer
from stylize_video.values import Scale, check_kind
from stylize_video.video.pictures import (
    GIF,
    PICTURES,
    Picture,
    holds_alpha,
    warn_if_profile_is_lost,
    write_picture,
)
from stylize_video.video.sink import check_output

_log = logging.getLogger(__name__)


def stylize_picture(
    source: str | Path,
    output: str | Path,
    session: StyleSession,
    *,
    look: Look = Look(),
    working_size: WorkingSize = WorkingSize(),
    scale: Scale | None = None,
    overwrite: bool = False,
) -> Result:
    """Stylize one picture of any size; transparency is kept where the output's format has it.

    Args:
        source: the picture.
        output: the picture to write, whose ending chooses the format.
        session: the style, on its device.
        look: how much of the style is shown.
        working_size: where the network works.
        scale: the size of the result, which the picture gets before the style.
        overwrite: replace ``output`` where it exists.

    Raises:
        SourceError: ``source`` is no picture.
        SinkError: ``output`` exists, or cannot be written.
        StylizeError: a setting is of another type.
    """
    source, output = Path(source), Path(output)
    if scale is not None:
        check_kind("scale", scale, Scale)
    if output.suffix.lower() not in (endings := PICTURES | {GIF}):
        raise SinkError(f"cannot write {output}: the result of a picture is a picture ({_listed(endings)})")
    check_output(output, source, overwrite=overwrite)
    output = behind_links(output)
    picture = Picture.read(source)
    frame, alpha = picture.image, picture.alpha
    if alpha is not None and not holds_alpha(output):
        _log.warning("%s holds no transparency: that of %s is left out", output, source)
    warn_if_profile_is_lost(picture.profile, source, output)
    if scale:
        width, height = scale.size_of(frame.shape[1], frame.shape[0])
        frame = resized(frame, height, width)
        alpha = None if alpha is None else resized(alpha, height, width)
    stylized = Stylizer(session, look, working_size=working_size).stylize(frame)
    write_picture(output, stylized, alpha, profile=picture.profile, exif=picture.exif, overwrite=overwrite)
    return Result(output, 1)


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
