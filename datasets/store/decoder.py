"""Decoding in a process of its own: a file that crashes or blocks a decoder costs one clip, and nothing else.

Whatever happens to a clip becomes the reason for its quarantine here. The kernel ends the process when a clip's time is
over, even if a decoder never returns; the next clip gets a new process.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue

from datasets.index.clips import Clip, Source
from datasets.store.frames import frames
from datasets.store.settings import Audio, Frames, Limits, Settings
from datasets.store.sound import audio
from datasets.store.source_file import ClipWarning, Unusable

Job = tuple[Clip, Settings, Limits]

UNREADABLE = "cannot be read"  # starts of reasons that another try may not have
OUT_OF_MEMORY = "out of memory"
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # by the decoder, which ends with its parent


@dataclass(frozen=True)
class Decoded:
    """What is stored of a clip.

    Args:
        blobs: modality -> JPEGs or audio.
        warnings: texts of the warnings (`ClipWarning`) given on the way.
    """

    blobs: dict[str, list[bytes]]
    warnings: tuple[str, ...] = ()


def decode_clip(clip: Clip, settings: Settings, limits: Limits) -> Decoded:
    """Return what is stored of a clip, from this process's decoder.

    Raises:
        Unusable: if the clip cannot be read or decoded, whatever the cause.
        OSError: if no decoder can be started.
    """
    return _own_decoder(os.getpid()).decode((clip, settings, limits))


@lru_cache(maxsize=1)
def _own_decoder(process: int) -> _Decoder:
    """Return the decoder of a process; a fork does not share its parent's."""
    decoder = _Decoder()
    atexit.register(decoder.stop, kill=True)
    return decoder


class _Decoder:
    """Process that decodes one clip at a time, started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def decode(self, job: Job) -> Decoded:
        """Return what is stored of a clip, or raise `Unusable`."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(job)
            answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise Unusable(_reason_of_end(self.stop(), job[2])) from None
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next clip
            self.stop(kill=True)
            raise
        if isinstance(answer, Unusable):
            raise answer
        found: Decoded = answer
        return found

    def _start(self) -> Connection:
        here, there = Pipe()
        code = f"from {__spec__.name} import serve; serve({there.fileno()})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code], env=environment, stdin=subprocess.DEVNULL, pass_fds=[there.fileno()]
            )
        self._pipe = here
        try:
            here.recv()  # sent when all libraries are loaded
        except (EOFError, ConnectionError):
            raise OSError(f"the decoder's process did not start (exit code {self.stop()})") from None
        return here

    def stop(self, *, kill: bool = False) -> int:
        """End the process, if there is one, and return its exit code."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is None or pipe is None:
            return 0
        pipe.close()
        if kill:
            process.kill()
        return process.wait()


def _reason_of_end(code: int, limits: Limits) -> str:
    """Return the reason for the quarantine of a clip, given the exit code of the process that decoded it."""
    if code == -signal.SIGALRM:
        return f"too slow: not decoded within {limits.clip_timeout_s:g} s (`clip_timeout_s`)"
    if code == -signal.SIGKILL:
        return f"{OUT_OF_MEMORY}: the decoder was killed"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"cannot be decoded: the decoder crashed ({how})"


def serve(handle: int) -> None:
    """Decode the clips that arrive at a pipe until its other end is closed."""
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it does
    import av
    import simplejpeg
    import soxr

    pipe = Connection(handle)
    jobs: SimpleQueue[Job] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, jobs.put), daemon=True).start()
    pipe.send([library.__name__ for library in (av, simplejpeg, soxr)])
    while True:
        pipe.send(_answer(*jobs.get()))


def _receive(pipe: Connection, put: Callable[[Job], None]) -> None:
    """Receive jobs until the parent ends, also in the middle of a clip; then end this process."""
    with suppress(EOFError, OSError):
        while True:
            put(pipe.recv())
    os._exit(0)


def _answer(clip: Clip, settings: Settings, limits: Limits) -> Decoded | Unusable:
    signal.setitimer(signal.ITIMER_REAL, limits.clip_timeout_s)
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            blobs = {modality: _encode(clip.sources[modality], how, limits) for modality, how in settings.items()}
        texts = (str(one.message) for one in given if issubclass(one.category, ClipWarning))
        return Decoded(blobs, tuple(dict.fromkeys(texts)))
    except Unusable as reason:
        return reason
    except MemoryError:
        return Unusable(f"{OUT_OF_MEMORY}: decoding needs more than there is")
    except OSError as error:
        return Unusable(f"{UNREADABLE}: {error.strerror or error} ({error.filename})")
    except Exception as error:  # the libraries raise errors of many kinds on broken files
        return Unusable(f"cannot be decoded: {type(error).__name__}: {error}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _encode(source: Source, how: Frames | Audio, limits: Limits) -> list[bytes]:
    if isinstance(how, Audio):
        return [audio(source, how.sample_rate_hz, how.stored_seconds, limits)]
    if source.kind == "flow":
        from datasets.store.optical_flow import flow

        return flow(source, how.per_clip, how.short_side, how.quality, limits)
    return frames(source, how.per_clip, how.short_side, how.quality, limits)
