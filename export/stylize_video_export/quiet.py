"""Tools that tell more than an export needs: torch's exporter, and ONNX Runtime's quantiser."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_tools(logger_name: str | None = None) -> Iterator[None]:
    """Leave out what tools print, warn of, or log below errors; on the root logger by default."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
