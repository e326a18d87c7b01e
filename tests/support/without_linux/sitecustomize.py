"""Take from Python what Linux alone has: names in modules, and /proc, /sys and glibc for this project's own code."""

import os
import resource
import signal
import socket
import sys

LINUX = {
    os: "sched_getaffinity sched_setaffinity sched_getscheduler memfd_create pidfd_open eventfd copy_file_range splice "
    "fdatasync posix_fallocate posix_fadvise getrandom O_TMPFILE O_DIRECT getxattr setxattr listxattr unshare setns",
    resource: "prlimit RLIMIT_NICE RLIMIT_RTPRIO",
    signal: "SIGPWR SIGSTKFLT SIGPOLL SIGRTMIN SIGRTMAX sigtimedwait sigwaitinfo pidfd_send_signal",
    socket: "SO_PEERCRED",
}
for module, names in LINUX.items():
    for name in filter(module.__dict__.__contains__, names.split()):
        delattr(module, name)


def refuse(event, arguments):
    """Raise where the project's own code opens a file of Linux's, or loads glibc; libraries know which system it is."""
    if event not in ("open", "ctypes.dlopen") or not isinstance(arguments[0], str):
        return
    if arguments[0].startswith(("/proc/", "/sys/", "libc.so")):
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(os.environ["PROJECT_ROOT"]) and ".venv" not in caller:
            raise FileNotFoundError(2, "macOS has no such file", arguments[0])


sys.addaudithook(refuse)
