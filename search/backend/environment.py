"""Environment variables that Ray reads on import, set before any module, also a user's, can import it."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard and CSV logging are slow
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "30")  # otherwise a trial can hang when its worker is reused
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # we read the journal, never Tune's snapshots
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths start where the search started
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # otherwise workers run `uv run` in a copy of the folder
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # it prints a stack and aborts at SIGTERM
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Makes a local Ray listen on this machine only: with this setting Ray keeps 127.0.0.1, otherwise it replaces it by the
# network address. Existing clusters can still be joined.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
try:
    Path.home()
except RuntimeError:  # no HOME, and a user without an entry in the list of users, as in some containers
    os.environ["HOME"] = "/"  # as containers set it; Ray looks for the home folder on import
