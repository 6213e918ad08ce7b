"""``python -m stylize_video``, where the installed command is not on the path."""

from stylize_video.commands import stylize_video

if __name__ == "__main__":
    stylize_video()
