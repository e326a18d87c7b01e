"""`python -m search probe RUN --curve`: linear probes of the best encoders of a finished search, epoch by epoch."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from datasets.index.list_files import count
from ogmge import fit
from ogmge.config import ConfigError, select_modalities
from search.commands.confirm import PLAN, Outcome, SearchSummary, default_seeds, failure_of, finished_record
from search.commands.ending import Ending, end_in_mlflow
from search.commands.run_trials import train_all
from search.console.notes import print_line, print_note
from search.console.probe_curve_table import curve_headline, curve_table, of_probes
from search.experiment.arms import ARMS, Arm
from search.experiment.load import load
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.models.probe_curve import (
    ProbeCurveError,
    ProbeCurves,
    curve_file,
    failure_notes,
    probe_curves,
    write_curves,
)
from search.models.probe_curve_plot import draw_curves
from search.run.best import METRIC
from search.run.checkpoints import storage_of
from search.run.disk import resumable
from search.run.folder import RunFolder, check_writable, identify, lock_folder
from search.run.journal import Journal, read
from search.run.open_data import fingerprint_of, open_data
from search.tracking.tracker import SearchTracker
from search.tracking.trial_runs import Kind
from search.tuner.tuner import Tuner
from search.verdict.plan import read_plan
from search.verdict.probe_plan import claim_probes, configurations
from search.verdict.probe_policy import ProbePolicy, probe_tags, probe_title

PROBE_CURVE_ID = "probe_curve.id"  # tag of the trainings that belong to the curves of a run


@dataclass(frozen=True)
class Ask:
    """Options of probe curves.

    Args:
        every: number of epochs between two probes; None means about twenty probes per training.
        seeds: number of seeds; None means that of the confirmation.
    """

    every: int | None = None
    seeds: int | None = None


def trace_probes(path: Path, console: Console, ask: Ask) -> Outcome:
    """Train the best of each arm of a search and each encoder alone, and probe the encoders during training.

    The trainings use the confirmation's seeds; unfinished ones are continued. The curves go to the folder `probe_curve`
    of the run.

    Raises:
        ConfirmationError, ProbeCurveError, ExperimentError, DatasetError, FolderError, ResourceError, ClusterError,
            TrackingError: for errors of the user, found before the first training.
    """
    folder = RunFolder(path)
    experiment = load(folder.experiment)
    data = open_data(experiment.dataset)
    with lock_folder(folder):
        check_writable(folder)
        identity = identify(folder, fingerprint_of(data))
        record = finished_record(experiment, folder, "the curves need its best configurations")
        return _trace(SearchSummary(experiment, folder, identity, data, record), console, ask)


def _trace(searched: SearchSummary, console: Console, ask: Ask) -> Outcome:
    folder, own = searched.folder, searched.folder.probe_curve
    policy = _policy_of(searched, ask.seeds)
    every = _interval(policy, own, ask.every)
    with closing(Journal(own.journal)) as journal:
        tuner, curves = Tuner(_by_accuracy(searched.experiment), journal, policy), None
        own_tag = {PROBE_CURVE_ID: identify(own, searched.identity.fingerprint).run}
        kind = Kind("probe", probe_title, probe_tags, own_tag, again="the same command")
        tracker = SearchTracker(searched.experiment, folder, searched.identity, tuner.record, None, kind)
        if tuner.remaining_trials:
            print_line(console, f"\n{_announcement(tuner, policy, every)}")
        with resumable(), end_in_mlflow(tuner, tracker, [folder.report]) as ending:
            storage, fingerprint = storage_of(searched.experiment, own), searched.identity.fingerprint
            train_all(tuner, own, storage, tracker, console, of_probes, fingerprint, every)
            if tuner.complete:
                curves = probe_curves(tuner.record, policy, every)
                _leave(curves, folder, ending)
            ending.leave_report(folder, more=False)
    has_curves = curves is not None and bool(curves.lines)
    if curves is not None and has_curves:
        print_line(console, f"\n{curve_headline(curves, tuner.record.spent.wall_seconds)}\n")
        console.print(curve_table(curves))
        print_line(console, f"\n{_files(folder)}")
    for text in [*ending.lacks, *(failure_notes(tuner.record, policy) if has_curves else [])]:
        print_note(console, text)
    failure = None if has_curves else failure_of(tuner) or "no training finished with a result"
    return Outcome(tuner.complete, tuner.halted, failure)


def _by_accuracy(experiment: Experiment) -> Experiment:
    """Return the experiment with accuracy as its metric, which unimodal encoders have too, and without shared prefixes:
    a shared epoch would have no probe of its own."""
    update = {"metric": METRIC, "mode": "max", "share_prefixes": False}
    return experiment.model_copy(update={"search": experiment.search.model_copy(update=update)})


def _announcement(tuner: Tuner, policy: ProbePolicy, every: int) -> str:
    going_on = f", {tuner.record.over_count} of them finished earlier" if tuner.record.trials else ""
    epochs = "each epoch" if every == 1 else f"every {every} epochs"
    trainings = f"{count(tuner.policy.total, 'training')} with {count(len(policy.seeds), 'seed')}"
    return (
        f"{tuner.experiment.name}: probing the encoders of the best of each arm, and of "
        f"{', '.join(policy.modalities)} trained alone, after {epochs}: {trainings}{going_on}"
    )


def _leave(curves: ProbeCurves, folder: RunFolder, ending: Ending) -> None:
    """Write the curves to the run's folder, and queue them for MLflow."""
    if not curves.lines:
        return
    write_curves(folder, curves)
    draw_curves(curves, _plot_file(folder))
    ending.files = [curve_file(folder), _plot_file(folder), folder.report]


def _plot_file(folder: RunFolder) -> Path:
    return curve_file(folder).with_suffix(".png")


def _files(folder: RunFolder) -> str:
    places = {"numbers": curve_file(folder), "plot": _plot_file(folder), "report": folder.report}
    return "\n".join(f"{name:<16}{place}" for name, place in places.items() if place.exists())


# ---- what is trained ----


def _policy_of(searched: SearchSummary, seeds: int | None) -> ProbePolicy:
    taken = {name for arm in ARMS for name in _modalities(searched, arm)}
    policy = ProbePolicy(
        searched.experiment,
        {arm: searched.best[arm].trial.changes for arm in ARMS},
        [name for name in searched.data.shapes if name in taken],
        searched.fresh_seeds(seeds or confirmed_seeds(searched)),
    )
    _check_buildable(searched, policy)
    return policy


def _modalities(searched: SearchSummary, arm: Arm) -> list[str]:
    """Return the modalities of the best trial of an arm, of which there must be at least two."""
    number = searched.best_trials[arm]
    config = with_changes(searched.experiment.trial, searched.record.trials[number].changes)
    names = list(select_modalities(config, searched.data.shapes))
    if len(names) < 2:
        raise ProbeCurveError(
            f"trial {number}, the best {arm} trial of the search in {searched.folder.path}, uses one modality only "
            f"({names[0]}): probe curves compare the encoders of joint models with encoders trained alone"
        )
    return names


def _check_buildable(searched: SearchSummary, policy: ProbePolicy) -> None:
    """Build each unimodal model once, to check that this is possible."""
    for probed in policy.each:
        if probed.modality is None:  # the search has trained it
            continue
        try:
            fit.start(policy.config(probed), searched.data, torch.device("cpu"))
        except ConfigError as error:
            raise ProbeCurveError(
                f"{probed.modality} cannot be trained alone with the settings of trial "
                f"{searched.best_trials['baseline']}, the best baseline trial: {error}"
            ) from error


def confirmed_seeds(searched: SearchSummary) -> int:
    """Return the number of seeds of the confirmation; without one, its default."""
    confirmation = searched.folder.confirmation
    plan = read_plan(confirmation.path / PLAN)
    if plan is None or dict(plan.trials) != searched.best_trials:
        return default_seeds(searched.experiment)
    if not plan.sequential:
        return plan.seeds
    return max((int(trial.internal["pair"]) + 1 for trial in read(confirmation.journal)), default=1)


def _interval(policy: ProbePolicy, own: RunFolder, asked: int | None) -> int:
    """Return the number of epochs between two probes."""
    configs = configurations(policy)
    longest = max(config.epochs for config in configs.values())
    if asked is not None and asked > longest:
        raise ProbeCurveError(
            f"--every must be from 1 to {longest}, the epochs of the longest training, but got {asked}"
        )
    return claim_probes(own, configs, asked)
