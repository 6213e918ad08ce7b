"""Writes style files and proves them: torch, ONNX and ONNX Runtime side by side."""

import stylize_video  # noqa: F401  # first of all: with it ONNX Runtime reports to nobody
