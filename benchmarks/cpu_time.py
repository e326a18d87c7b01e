"""CPU time of a command and of all processes that it starts: `python -m benchmarks.cpu_time RESULT COMMAND …`.

The system adds up the CPU time of children that their parent waits for. Ray often does not wait for the processes that
it starts, and they leave its process group. Therefore the command runs below a separate process that inherits all
orphaned descendants (`PR_SET_CHILD_SUBREAPER`). This process measures the CPU time in two ways:
  reaped  the system's count for all processes that were waited for. It is exact, but lacks the children of a process
          that ignores SIGCHLD, as Ray's raylet does;
  seen    the CPU time of every descendant when it was last polled, five times per second. It lacks what each process
          used after that.
Both are lower bounds, so the larger one is closer to the truth.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1
EVERY_S = 0.2  # interval at which the processes are polled
TURN_S = 0.05  # interval at which the end of the command is checked
LINGER_S = 20.0  # time until processes that outlive the command, such as Ray's services, are killed


@dataclass(frozen=True)
class Used:
    """Time used by a command and all processes that it started, in seconds.

    Args:
        wall: wall time until the command itself ended.
        reaped, seen: user and system CPU time, see above.
    """

    wall: float
    reaped: float
    seen: float

    @property
    def cpu(self) -> float:
        return max(self.reaped, self.seen)

    def __add__(self, other: Used) -> Used:
        """Return the time of two commands that run one after the other."""
        return Used(self.wall + other.wall, self.reaped + other.reaped, self.seen + other.seen)


def measured(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], out: Path) -> Used:
    """Run a command to its end and return the time it used. If this process is interrupted, so is the command.

    Args:
        command: words of the command.
        folder: working folder.
        environment: environment variables in addition to this process's.
        out: file for the command's output.

    Raises:
        subprocess.CalledProcessError: if the command fails.
        KeyboardInterrupt: if this process is interrupted.
    """
    result = out.with_suffix(".json")
    words = [sys.executable, "-m", "benchmarks.cpu_time", str(result), *command]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with out.open("ab") as file:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return Used(**json.loads(result.read_text(encoding="utf-8")))


# ---- the process above the command ----


@dataclass(frozen=True)
class _Process:
    parent: int
    began: int  # ticks since boot; identifies a process together with its id
    ticks: int


def _process(pid: int) -> _Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None  # the process has ended
    return _Process(int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))


def _below(pid: int) -> dict[int, _Process]:
    """Return all descendants of a process."""
    every = {int(name): _process(int(name)) for name in os.listdir("/proc") if name.isdecimal()}
    children: dict[int, list[int]] = {}
    for one, process in every.items():
        if process is not None:
            children.setdefault(process.parent, []).append(one)
    found: dict[int, _Process] = {}
    left = list(children.get(pid, ()))
    while left:
        one = left.pop()
        process = every[one]
        if process is not None:
            found[one] = process
        left += children.get(one, ())
    return found


class _Seen:
    """CPU time of this process's descendants when they were last polled."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}

    def look(self) -> None:
        for pid, process in _below(os.getpid()).items():
            self._ticks[pid, process.began] = process.ticks

    @property
    def seconds(self) -> float:
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")


class _Meter:
    """Time used by this process's descendants."""

    def __init__(self) -> None:
        self._seen, self._began, self._looked, self._wall = _Seen(), time.monotonic(), 0.0, None

    def turn(self) -> None:
        """Poll the processes if it is time to, then sleep for one turn."""
        if time.monotonic() - self._looked > EVERY_S:
            self._seen.look()
            self._looked = time.monotonic()
        time.sleep(TURN_S)

    def stop(self) -> None:
        """End the wall time; the CPU time of remaining processes still counts."""
        self._wall = time.monotonic() - self._began

    @property
    def used(self) -> Used:
        if self._wall is None:
            self.stop()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Used(self._wall, used.ru_utime + used.ru_stime, self._seen.seconds)


def _end_all(number: int) -> None:
    for pid in _below(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap(first: int | None, meter: _Meter) -> int | None:
    """Wait until the first process has ended; with None, until all have ended, which are killed after LINGER_S.

    Returns:
        Exit code of the first process.
    """
    until = None if first else time.monotonic() + LINGER_S
    with suppress(ChildProcessError):  # none is left
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid and pid == first:
                return os.waitstatus_to_exitcode(status)
            if until and time.monotonic() > until:
                _end_all(signal.SIGKILL)
            if not pid:
                meter.turn()
    return None


def _control(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> int:
    result, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    _control(PR_SET_CHILD_SUBREAPER, 1)
    _control(PR_SET_PDEATHSIG, signal.SIGINT)  # if the benchmark is killed, its command ends too
    meter = _Meter()
    try:
        code = _reap(os.posix_spawnp(command[0], command, os.environ, setpgroup=0), meter)
    except KeyboardInterrupt:
        _end_all(signal.SIGINT)
        code = -signal.SIGINT
    meter.stop()
    _reap(None, meter)
    Path(result).write_text(json.dumps(asdict(meter.used)) + "\n", encoding="utf-8")
    assert code is not None
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
