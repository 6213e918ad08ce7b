"""Videos on a Ray cluster: cut at keyframes, stylized by whoever is free, joined as if by one machine.

What comes back goes into the journal of the file, segment by segment in order. So an
interrupted run goes on with ``--resume``, on a cluster or not, and the join is the same.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from stylize_video.errors import JobInterrupted, StylizeError, first_line
from stylize_video.interrupts import interruptible, let_through, uninterrupted
from stylize_video.jobs.batch import stylize_any
from stylize_video.jobs.options import Options
from stylize_video.jobs.outputs import UNTIMED
from stylize_video.jobs.pipeline import Hooks, Job, Result, run_job
from stylize_video.jobs.resume import fingerprint
from stylize_video.jobs.segment import (
    LONG_SECONDS,
    SHORT_SECONDS,
    SegmentJob,
    StyleReference,
    plan_segments,
    stylize_segment,
)
from stylize_video.resuming.resumable_sink import ResumableSink
from stylize_video.styles.session import StyleSession
from stylize_video.video.info import VideoInfo
from stylize_video.video.inputs import Source, is_picture, parse_source
from stylize_video.video.pipes import STANDARD
from stylize_video.video.sequences import is_pattern

_RETRIES = 3
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_SHARES = 4
_AHEAD = 2
"""Segments that wait for each worker of a cluster, so that none is ever idle."""


class ClusterError(StylizeError):
    """The cluster cannot be reached, or lost a segment for good."""


class Cluster:
    """A Ray cluster for the time of a ``with`` block.

    Args:
        address: of a running cluster, ``host:port`` or ``ray://host:port``; None starts one on
            this machine, or takes the one that the environment names.
        device: where each worker runs the style: ``cpu``, or ``cuda`` for one GPU each.
        seconds: least length of a segment; by default what keeps all workers busy.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self, address: str | None = None, *, device: str = "cpu", seconds: float | None = None
    ) -> None:
        self._ray = _import_ray()
        # Ray gives each worker a GPU of its own, whose number there is 0.
        self._device = "cuda" if device.startswith("cuda") else device
        self._seconds = seconds
        self._stop = threading.Event()
        self._has_left = False
        self._here = threading.Lock()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            named = os.environ.get("RAY_ADDRESS") if address in (None, "auto") else address
            try:
                _check_somebody_listens(named)
                self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                where = f"at {named}" if named else "on this machine"
                reason = first_line(error)
                raise ClusterError(f"there is no Ray cluster {where} ({reason})") from error
        kind = "GPU" if self._device == "cuda" else "CPU"
        # A worker that is killed takes its segment with it: Ray gives the segment to another.
        options = {"num_cpus": 1, "max_retries": _RETRIES, "retry_exceptions": False}
        self._segment = self._ray.remote(**options, num_gpus=int(kind == "GPU"))(stylize_segment)
        self.workers = int(self._ray.cluster_resources().get(kind, 0))
        if not self.workers:  # Ray would wait for some to come
            self._leave()
            advice = "; run with --device cpu" if kind == "GPU" else ""
            raise ClusterError(f"no machine of the Ray cluster has a {kind} to give{advice}")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._has_left = True
        if self._ours:
            self._ray.shutdown()

    def _check_is_there(self) -> None:
        if self._has_left:  # Ray would start a cluster on this machine without a word
            raise ClusterError("this cluster was left at the end of its with block; connect to it once more")

    def stop(self) -> None:
        """Let the jobs that other threads have begun end as by Ctrl-C."""
        self._stop.set()
        self._stop = threading.Event()

    def stylize_file(
        self,
        source: str | Source,
        output: str | Path,
        session: StyleSession,
        options: Options,
        *,
        hooks: Hooks = Hooks(),
    ) -> Result:
        """As :func:`~stylize_video.jobs.pipeline.stylize_file`, on the cluster. Threads may share it.

        ``source`` has to be on a folder that all machines see under the same name; the
        result is written by this one. What cannot be cut (:func:`why_here`) is done by this one.

        Raises:
            ClusterError: a segment was lost again and again, or the block has ended.
            StylizeError: as there.
        """
        self._check_is_there()
        parsed = parse_source(source) if isinstance(source, str) else source
        return self._stylize_file(parsed, Path(output), session, options, hooks, self._stop)

    def _stylize_file(
        self,
        source: Source,
        output: Path,
        session: StyleSession,
        options: Options,
        hooks: Hooks,
        stop: threading.Event,
    ) -> Result:
        if why_here(source, output, options) or not isinstance(source, Path):
            hooks = hooks.stopped_by(stop)  # Ctrl-C itself reaches only the main thread
            if is_picture(source):
                return stylize_any(source, output, session, options, hooks=hooks)
            with self._here:  # one after the other, as without a cluster
                if stop.is_set():
                    raise KeyboardInterrupt
                return stylize_any(source, output, session, options, hooks=hooks)
        style, suffix = StyleReference.of(session), output.suffix.lower()

        def stylize_there(job: Job) -> Iterator[int]:
            seconds = self._seconds or self._even_seconds(job.info)
            segments = plan_segments(source, job.done, window=job.info.window, seconds=seconds)
            known = fingerprint(source)
            jobs = (
                SegmentJob(source.resolve(), known, suffix, style, self._device, options, segment)
                for segment in segments
            )
            if not isinstance(job.sink, ResumableSink):
                raise ClusterError(f"{output} cannot be made of segments; a video file can")
            for content in self._in_order(jobs, stop):
                if content:
                    frames = job.sink.add_run(content)
                    interruptible(partial(hooks.tell_frames, frames))
                    yield frames

        return run_job(source, output, session, stylize_there, options, hooks=hooks)

    def _even_seconds(self, info: VideoInfo) -> float:
        """A few segments for each worker, but none so short that opening it takes longest."""
        duration = float((info.frame_count or 0) / info.rate)
        return min(LONG_SECONDS, max(SHORT_SECONDS, duration / (_SHARES * self.workers)))

    def stylize_all(
        self,
        files: Sequence[tuple[Source, Path]],
        session: StyleSession,
        options: Options,
        *,
        hooks: Hooks = Hooks(),
    ) -> list[Result | StylizeError]:
        """Many files (each a source and its output) at once.

        What is no video file made of a video file is done on this machine. Returns each
        file's result, or why it failed. ``hooks`` are called by one thread at a time.

        Raises:
            ClusterError: the block has ended.
            JobInterrupted, KeyboardInterrupt: Ctrl-C; what was done of each file is kept.
        """
        self._check_is_there()
        shared, stop = _one_at_a_time(hooks), self._stop

        def work(file: tuple[Source, Path]) -> Result | StylizeError:
            source, output = file
            if stop.is_set():
                raise KeyboardInterrupt
            try:
                return self._stylize_file(source, output, session, options, shared, stop)
            except StylizeError as error:
                return error

        with uninterrupted(), ThreadPoolExecutor(self.workers, thread_name_prefix="file") as pool:
            futures = [pool.submit(work, file) for file in files]
            try:
                return [_outcome(future) for future in futures]
            except KeyboardInterrupt as interruption:
                self.stop()
                raise self._stop_all(futures) or interruption from interruption
            except BaseException:
                self.stop()  # the pool waits for its threads, whatever happened
                raise

    def _stop_all(self, futures: Sequence[Future[Result | StylizeError]]) -> JobInterrupted | None:
        """Wait until all files are stopped; what one of them has to say about it."""
        for future in futures:
            future.cancel()
        ended = [future.exception() for future in futures if not future.cancelled()]
        told = [error for error in ended if isinstance(error, JobInterrupted)]
        return min(told, key=lambda error: error.part is None, default=None)

    def _in_order(self, jobs: Iterator[SegmentJob], stop: threading.Event) -> Iterator[bytes]:
        """Results in order, while a bounded number of segments is in the works."""
        waiting: deque[Any] = deque()
        try:
            for job in jobs:
                waiting.append(self._segment.remote(job))
                if len(waiting) >= _AHEAD * self.workers:
                    yield self._result(waiting.popleft(), stop)
            while waiting:
                yield self._result(waiting.popleft(), stop)
        finally:
            for reference in waiting:
                self._ray.cancel(reference, force=True)

    def _result(self, reference: Any, stop: threading.Event) -> bytes:
        errors = self._ray.exceptions
        while True:
            if stop.is_set():
                self._ray.cancel(reference, force=True)
                raise KeyboardInterrupt
            try:
                content: bytes = self._ray.get(reference, timeout=_POLL_SECONDS)
            except errors.GetTimeoutError:
                let_through()
                continue
            except errors.RayTaskError as error:
                if isinstance(error.cause, StylizeError):
                    raise error.cause from error
                raise ClusterError(f"a segment failed: {error.cause}") from error
            except errors.RayError as error:
                reason = first_line(error)
                raise ClusterError(f"a segment was lost {_RETRIES + 1} times ({reason})") from error
            return content


def _check_somebody_listens(address: str | None) -> None:
    """Ray itself tries for minutes to reach a machine that is not there.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def why_here(source: Source, output: Path, options: Options) -> str | None:
    """Why a cluster is of no use for a job, so that this machine does it; None where it is of use."""
    if not isinstance(source, Path) or is_pattern(source) or is_picture(source):
        return "only video files can be shared"
    if is_pattern(output) or str(output) == STANDARD or output.suffix.lower() in (".gif", ".webp"):
        return "only video files can be made of parts"
    # Frames of a segment would depend on all before:
    if options.max_frames is not None:
        return "a limit of frames counts from the beginning"
    if options.edit.fps:
        return "a frame rate is kept from the beginning"
    if output.suffix.lower() in UNTIMED:
        return f"{output.suffix} files have no time stamps"
    return None


def _outcome(future: Future[Result | StylizeError]) -> Result | StylizeError:
    while wait([future], _POLL_SECONDS).not_done:
        let_through()
    return future.result()


def _one_at_a_time(hooks: Hooks) -> Hooks:
    lock = threading.RLock()

    def locked(call: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*args: object) -> None:
            with lock:
                call(*args)

        return wrapper

    return Hooks(
        locked(hooks.on_start), locked(hooks.on_frame), locked(hooks.on_resume), locked(hooks.tell_frames)
    )


def _import_ray() -> Any:
    # Nobody asked Ray to tell its makers; it also warns of its own future.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ClusterError("--ray needs Ray: pip install 'stylize-video[cluster]'") from error
    return ray
