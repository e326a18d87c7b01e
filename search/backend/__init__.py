"""Ray: the machines, the resources of each trial, and the processes that train."""
