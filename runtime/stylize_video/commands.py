"""The installed commands, each loaded when it is called.

A command needs a tenth of a second to be imported, more on a busy machine. Ctrl-C in that time ends
it in a sentence too, since this module imports next to nothing.
"""

from functools import partial
from importlib import import_module


def _run(module: str, function: str = "main") -> None:
    try:
        getattr(import_module(module), function)()
    except KeyboardInterrupt:
        from stylize_video.console import EXIT_INTERRUPTED, fail

        fail("interrupted", EXIT_INTERRUPTED)


stylize_video = partial(_run, "stylize_video.cli")
stylize_camera = partial(_run, "stylize_video.live.cli")
stylize_bench = partial(_run, "stylize_video.bench.cli")
stylize_doctor = partial(_run, "stylize_video.doctor.cli")
stylize_eval = partial(_run, "stylize_video.eval.cli")
export_onnx = partial(_run, "stylize_video_export.cli")
train_style = partial(_run, "stylize_video_train.cli")
compare_losses = partial(_run, "stylize_video_train.experiments.cli", "main_compare_losses")
compare_networks = partial(_run, "stylize_video_train.experiments.cli", "main_compare_networks")
train_experiments = partial(_run, "stylize_video_train.experiments.cli", "main_train_experiments")
train_gallery = partial(_run, "stylize_video_export.gallery.cli")
