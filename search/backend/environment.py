"""What Ray reads in the environment when it is imported: set before anything can import it, a user's module too."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard's and CSV's are the default's main cost
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "30")  # else a trial can hang at the hand-over of its worker
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # Tune's own snapshots are not read: the journal is
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a data set's relative paths are those of who starts the search
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else workers begin with `uv run`, in a copy of the folder
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray of our own listens to this machine alone: without clusters of its own, Ray takes 127.0.0.1 as it is, and else
# replaces it by the address in the network. A cluster that is there already can be joined all the same.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
