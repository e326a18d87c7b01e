"""Expected savings from shared prefixes, before any trial is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from ogmge.prefix_keys import keys
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.trials import TrialRecord
from search.tuner.prefixes.siblings import continuous_paths
from search.tuner.prefixes.tree import Tree


@dataclass(frozen=True)
class PrefixSavings:
    """Savings for trials that are drawn from a space.

    Args:
        inherited_share: share of all epochs that are inherited from another trial.
        prefixes: largest number of prefixes that are stored.
        prevented_by: ranges without steps that keep any two trials of the sampler from sharing an epoch.
        limited_by: ranges without steps that keep any two trials from sharing an epoch after their windows open.
    """

    inherited_share: float = 0.0
    prefixes: int = 0
    prevented_by: tuple[str, ...] = ()
    limited_by: tuple[str, ...] = ()


def expected_savings(experiment: Experiment, trials: Sequence[TrialRecord]) -> PrefixSavings:
    """Count the epochs that several trials share.

    Args:
        experiment: experiment that is searched.
        trials: trials such as a search may run, see `search.dry_run.draw`.
    """
    if not experiment.search.share_prefixes:
        return PrefixSavings()
    trainings = [keys(with_changes(experiment.trial, trial.changes)) for trial in trials]
    tree = Tree([(training, False) for training in trainings])
    epochs = Counter(chain.from_iterable(training[1:] for training in trainings))
    prefixes = Counter(chain.from_iterable(map(tree.prefixes, trainings)))
    return PrefixSavings(
        1 - len(epochs) / epochs.total(),
        sum(count > 1 for count in prefixes.values()),
        continuous_paths(experiment.space, experiment.trial, late=False),
        continuous_paths(experiment.space, experiment.trial, late=True),
    )
