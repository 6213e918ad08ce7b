"""``python -m stylize_video_export``: ``export-onnx``."""

from stylize_video_export.cli import main

if __name__ == "__main__":
    main()
