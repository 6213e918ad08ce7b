"""``python -m stylize_video_train``, which ``torchrun -m`` can start in many processes."""

from stylize_video_train.cli import main

if __name__ == "__main__":
    main()
