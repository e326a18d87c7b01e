"""Ray: machines, what a trial is given of them, and the processes that train."""
