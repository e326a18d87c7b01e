"""CPU time of a command and of everything it starts: `python -m benchmarks.cpu_time RESULT COMMAND …`.

What a parent waits for, the system adds up for it; but what Ray starts is often not waited for, and leaves its process
group, too. So the command runs below a process of its own to which the system hands whoever loses its parent
(`PR_SET_CHILD_SUBREAPER`): nobody gets away, and it counts in two ways.
  reaped  what the system says of all that was waited for, by it or on the way to it: exact, but without the children
          of a process that lets the system bury them (who ignores SIGCHLD, as Ray's raylet does);
  seen    what each process below it had used when it was last looked at, five times a second: of all of them, but
          without what each did after that.
Neither counts what was not used, so that the larger is the nearer to the truth.
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
EVERY_S = 0.2  # between two looks at the processes
TURN_S = 0.05  # between two looks at whether the command has ended
LINGER_S = 20.0  # for what a command leaves behind, Ray's services for one, until it is killed


@dataclass(frozen=True)
class Used:
    """By a command and all that it started, in seconds.

    Args:
        wall: until the command itself ended.
        reaped, seen: CPU time, user and system, see above.
    """

    wall: float
    reaped: float
    seen: float

    @property
    def cpu(self) -> float:
        return max(self.reaped, self.seen)

    def __add__(self, other: Used) -> Used:
        """One after the other."""
        return Used(self.wall + other.wall, self.reaped + other.reaped, self.seen + other.seen)


def measured(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], out: Path) -> Used:
    """Runs a command to its end; where this process is interrupted, so is the command.

    Args:
        command: its words.
        folder: where it runs.
        environment: of it, beside this process's.
        out: a file for what it prints.

    Raises:
        subprocess.CalledProcessError: it failed.
        KeyboardInterrupt: it was interrupted.
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
    began: int  # ticks since the machine did: with the id it says which process it is
    ticks: int


def _process(pid: int) -> _Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None  # it has gone
    return _Process(int(fields[1]), int(fields[19]), int(fields[11]) + int(fields[12]))


def _below(pid: int) -> dict[int, _Process]:
    """Children of a process, their children and so on."""
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
    """What the processes below this one had used when they were last looked at."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}

    def look(self) -> None:
        for pid, process in _below(os.getpid()).items():
            self._ticks[pid, process.began] = process.ticks

    @property
    def seconds(self) -> float:
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")


class _Meter:
    """Of this process's children, and of what they start."""

    def __init__(self) -> None:
        self._seen, self._began, self._looked, self._wall = _Seen(), time.monotonic(), 0.0, None

    def turn(self) -> None:
        """Looks, where it is time to, and waits for the next turn."""
        if time.monotonic() - self._looked > EVERY_S:
            self._seen.look()
            self._looked = time.monotonic()
        time.sleep(TURN_S)

    def stop(self) -> None:
        """The wall time ends; what is left behind goes on to be counted."""
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
    """Waits until the first process has ended, or with None until all have: they get a while, then they are killed.

    Returns:
        the exit code of the first.
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
    _control(PR_SET_PDEATHSIG, signal.SIGINT)  # where the benchmark is killed, its command does not go on
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
