from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tracemalloc
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from stylize_video_train import batches as batches_module
from stylize_video_train.batches import batches
from stylize_video_train.data import ContentFolder, DataError
from stylize_video_train.errors import TrainingError
from stylize_video_train.recipe import Recipe
from support import draw_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ContentFolder:
    photos = tmp_path_factory.mktemp("photos")
    for index in range(3):
        cv2.imwrite(str(photos / f"{index}.png"), draw_picture(index, 48, 40))
    return ContentFolder(photos, size=16)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_step_has_its_samples_in_parts(
    folder: ContentFolder, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "cores", lambda: workers)
    recipe = Recipe(steps=5, batch=4, accumulate=2)
    with closing(batches(folder, recipe, done=1, device="cuda")) as steps:
        seen = [torch.cat(list(parts)) for parts in steps]
    assert len(seen) == 4
    for step, pictures in enumerate(seen, start=1):
        assert torch.equal(pictures, torch.stack([folder[4 * step + k] for k in range(4)]))


def test_what_photos_are_like_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not by the workers, with each crop."""
    with av.open(str(tmp_path / "moving.png"), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=10, width=48, height=40, pix_fmt="rgba")
        for number in range(2):
            picture = np.full((40, 48, 4), 100 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode(None))
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        moving = ContentFolder(tmp_path, size=16)
        with closing(batches(moving, Recipe(steps=3), done=0, device="cpu")) as steps:
            assert len(list(steps)) == 3
    finally:
        logging.getLogger().removeHandler(handler)
    assert moving.transparent() == 1
    assert capfd.readouterr().err.count("is an animation") == 1


def test_workers_need_no_shared_memory(folder: ContentFolder) -> None:
    """Of which containers have less than the batches that wait take."""
    with closing(batches(folder, Recipe(steps=1), done=0, device="cpu")) as steps:
        kept = next(steps)
        assert "/dev/shm/torch" not in Path("/proc/self/maps").read_text()
    assert kept


def killed_training(folder: ContentFolder, told: Connection) -> None:
    """A process that is killed; tells how many workers it has before."""
    steps = batches(folder, Recipe(steps=100), done=0, device="cuda")
    next(steps)
    told.send(len(multiprocessing.active_children()))
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_end_with_a_training_that_is_killed(
    folder: ContentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "cores", lambda: 2)
    here, there = multiprocessing.Pipe(duplex=False)
    training = multiprocessing.Process(target=killed_training, args=(folder, there))
    training.start()
    there.close()  # the workers have it, too, so that it ends with the last of them
    assert here.recv() == 2
    assert here.poll(20)
    with pytest.raises(EOFError):
        here.recv()
    training.join()


def test_a_batch_that_cannot_be_shared_equally_is_an_error(
    folder: ContentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of its photos would be left out."""
    monkeypatch.setattr(batches_module, "process_count", lambda: 3)
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared equally: 3 processes, 1 parts"):
        next(batches(folder, Recipe(batch=4), done=0, device="cpu"))


def test_a_long_training_needs_no_more_memory(folder: ContentFolder) -> None:
    tracemalloc.start()
    try:
        with closing(batches(folder, Recipe(steps=10**6), done=0, device="cpu")) as steps:
            next(steps)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_gpus_workers_are_as_many_as_there_are_cores(
    folder: ContentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "cores", lambda: 2)
    with closing(batches(folder, Recipe(steps=2), done=0, device="cuda")) as steps:
        next(steps)
        assert len(multiprocessing.active_children()) == 2


def test_an_error_that_is_kept_keeps_no_workers(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), draw_picture(0, 48, 40))
    folder = ContentFolder(tmp_path, size=16)
    (tmp_path / "0.png").unlink()
    with closing(batches(folder, Recipe(steps=2), done=0, device="cpu")) as steps:
        with pytest.raises(DataError) as kept:
            next(steps)
        assert multiprocessing.active_children() == []
    assert kept.tb


def test_a_worker_that_is_killed_is_told_wherever_it_was(folder: ContentFolder) -> None:
    """In the midst of a batch that it hands over, too."""
    with closing(batches(folder, Recipe(steps=9, batch=64), done=0, device="cpu")) as steps:
        next(steps)
        (worker,) = inspect.getgeneratorlocals(steps)["workers"]
        assert worker._pipe.poll(20)  # which holds less than a batch
        worker._process.kill()
        with pytest.raises(MemoryError):
            next(steps)


def test_a_worker_without_memory_for_a_batch_says_so(
    folder: ContentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is the copy in the pipe that there is none for."""

    def dumps(answer: object) -> memoryview:
        if isinstance(answer, np.ndarray):
            raise MemoryError
        return memoryview(pickle.dumps(answer))

    monkeypatch.setattr("multiprocessing.connection._ForkingPickler.dumps", dumps)
    with closing(batches(folder, Recipe(), done=0, device="cpu")) as steps, pytest.raises(MemoryError):
        next(steps)


def test_workers_that_do_not_end_are_ended(folder: ContentFolder) -> None:
    with closing(batches(folder, Recipe(steps=10**6), done=0, device="cpu")) as steps:
        next(steps)
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
    assert worker.exitcode == -signal.SIGKILL
