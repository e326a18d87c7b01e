"""Limits that a shell or a job sets (`ulimit`): under them torch aborts and Ray hangs, both without a reason."""

from __future__ import annotations

import sys

GIB = 2**30
COMMAND_BYTES = 4 * GIB  # torch and MLflow take 3 to 4 GB of address space
RAY_BYTES = 8 * GIB  # a search's main process takes 6 GB, each worker as much
FILES = 1024  # raylet and gcs_server open about 60 each, and more for each worker


def address_space_fault(needed: int) -> str | None:
    """Return why the limit on this process's address space is too low, as a sentence; None if it is not.

    Args:
        needed: lowest limit that is enough, in bytes.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return None
    return (
        f"the address space of each process is limited to {soft / GIB:.1f} GiB, but this command needs at least "
        f"{needed // GIB} GiB, most of which takes no memory: run `ulimit -v unlimited` first, or ask for more in the "
        "settings of the job"
    )


def open_files_fault() -> str | None:
    """Raise the limit on open files as far as needed and allowed; return why it stays too low, or None."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES:
        return None
    if hard == resource.RLIM_INFINITY or hard >= FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
        return None
    return (
        f"each process may open at most {hard:,} files, but Ray needs {FILES:,}: raise the hard limit "
        f"(`ulimit -Hn {FILES}` as an administrator, or in the settings of the job)"
    )
