"""On a screen of 80 columns no word and no number of a final table is broken."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from rich.table import Table

from ogmge.config import Modulation
from ogmge.evaluation import Evaluation, Scores
from search.console import evaluation_table as evaluated
from search.console.notes import print_paragraph
from search.console.probe_curve_table import curve_table
from search.console.probe_table import table as probe_table
from search.console.progress import Progress, of_search
from search.console.summary import bests_rows, front_table, print_summary
from search.console.verdict_table import print_verdict
from search.experiment.formatting import label
from search.models.evaluation import ModelEvaluation, Result
from search.models.linear_probe import ALONE, Accuracy, Encoder, Report, Row
from search.models.probe_curve import Line, ProbeCurves
from search.run.best import bests
from search.run.budget import Spent
from search.run.trials import SearchRecord, TrialRecord
from search.verdict.confirm_policy import ConfirmPolicy
from search.verdict.decide import Ablation, leader, verdict
from search.verdict.next_step import NextStep
from search.verdict.paired import t_interval
from search.verdict.text import verdict_headings, verdict_rows
from tests.search.tuner.test_tuner import experiment, opened
from tests.support.tells import tells

WIDTH = 80
MODALITIES = st.sampled_from([("audio", "visual"), ("rgb", "flow", "audio"), ("audio", "text", "optical_flow")])
SETTINGS = [
    {"fusion": "concat", "modulation.method": "ogm_ge", "modulation.alpha": 0.00021754},
    {"fusion": "my_heads:CrossAttention", "optimizer.weight_decay": 0.000123, "modalities": ["audio", "optical_flow"]},
    {"weights": "/some/where/far/away/on/a/disk/resnet18.pt", "schedule.milestones": [70, 100], "encoder": "resnet18"},
]
LOSS = ("search.metric=val/loss", "search.mode=min")
STEP = NextStep("Then:", "do-it")


def lines_of(print_it) -> list[str]:
    """What is printed on a screen of 80 columns."""
    console = Console(file=io.StringIO(), width=WIDTH)
    print_it(console)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= WIDTH, lines
    return lines


def printed(content: RenderableType) -> list[str]:
    return lines_of(lambda console: console.print(content))


def are_whole(cells: Iterable[str], lines: Sequence[str]) -> None:
    """Assert that each cell is on one line, as a whole."""
    for cell in cells:
        found = re.compile(rf"(?<!\S){re.escape(cell.strip())}(?!\S)")
        assert any(found.search(line) for line in lines), (cell, lines)


def cells_of(table: Table) -> list[str]:
    """The lines of all cells and headings."""
    cells = [cell for column in table.columns for cell in (column.header, *column.cells)]
    return [line for cell in cells for line in str(cell).splitlines()]


# ---- the verdict ----


def values(scale: float) -> st.SearchStrategy[list[float]]:
    noise = st.integers(0, 10_000).map(lambda k: scale * k / 10_000)
    return st.lists(noise, min_size=6, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.data(), MODALITIES, st.sampled_from([(), LOSS]), st.booleans(), st.sampled_from([1e-6, 0.03, 1.0]))
def test_of_a_verdict_no_cell_is_folded(data, names, assignments, has_ablation, scale):
    asked, (modulated, baseline) = experiment(*assignments), (data.draw(values(scale)) for _ in range(2))
    mode = asked.search.objective.mode
    of = leader(t_interval(modulated, baseline), mode)
    ablation = Ablation(of, data.draw(values(scale))) if has_ablation else None
    alone = {name: (data.draw(values(1.0)), data.draw(values(1.0))) for name in names}
    found = verdict(modulated, baseline, mode, ablation=ablation, unimodal=alone)
    best = {"modulated": data.draw(st.sampled_from(SETTINGS)), "baseline": data.draw(st.sampled_from(SETTINGS))}
    policy = ConfirmPolicy(asked, best, list(range(7, 13)), Spent())
    lines = lines_of(lambda console: print_verdict(console, policy, found, None, 7322.0, STEP))
    metric = asked.search.objective.metric
    rows = [verdict_headings(metric), *verdict_rows(metric, found, None)]
    parts = [part for row in rows for cell in row if cell for part in re.split(r" (?=\()", cell)]
    are_whole(parts, lines)
    for chosen in best.values():
        are_whole(label(chosen, "\n").splitlines(), lines)


def test_a_number_stays_with_its_unit_wherever_a_line_ends():
    text = "modulated 82.4 ± 0.9 %, by 2.0 points from 10 seeds with p = 3.9e-06 after 2 h 02 min"
    for width in range(20, 100):
        console = Console(file=io.StringIO(), width=width)
        print_paragraph(console, text)
        lines = console.file.getvalue().splitlines()
        assert " ".join(lines) == text
        are_whole(["82.4 ± 0.9 %,", "2.0 points", "10 seeds", "p = 3.9e-06", "2 h 02 min"], lines)


# ---- a search ----


def record_of(names: Sequence[str], changes: dict) -> SearchRecord:
    record = SearchRecord()
    alone = {f"{what}/{name}": 1.0 for what in ("val/accuracy", "coefficient") for name in names}
    for number, arm in enumerate(("modulated", "baseline")):
        metrics = {"epoch": 100, "val/accuracy": 1.0, "val/loss": 1.2345, "best": 1.0, "seconds": 1.0, **alone}
        record.trials[number] = TrialRecord(number, arm, {}, dict(changes), "finished", [metrics])
    return record


@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.parametrize("names", [("audio", "visual"), ("audio", "text", "optical_flow")])
def test_of_the_best_trials_no_cell_is_folded(tmp_path, names, changes):
    tuner = opened(tmp_path / "journal.jsonl", "search.metric=[val/accuracy,val/loss]", "search.mode=[max,min]")
    record = record_of(names, changes)
    for number, trial in record.trials.items():
        tuner.record.trials[number] = trial
    best = bests(record, tuner.experiment.search.objective)
    lines = lines_of(lambda console: print_summary(console, tuner, best, None, 60.0, STEP))
    rows = bests_rows(tuner.experiment, record, best, "\n")
    are_whole((line for row in rows if row[0] != "configuration" for cell in row for line in cell.splitlines()), lines)
    are_whole(label(changes, "\n").splitlines(), lines)
    are_whole(["Pareto front", "val/accuracy", "val/loss"], printed(front_table(tuner.experiment, record)))


@pytest.mark.parametrize("changes", SETTINGS)
@pytest.mark.parametrize("names", [("audio", "visual"), ("audio", "text", "optical_flow")])
def test_the_live_table_has_a_line_of_numbers_and_one_of_settings(tmp_path, names, changes):
    tuner = opened(tmp_path / "journal.jsonl")
    trial = tuner.next()
    tuner.record_start(trial.number)
    trial.epochs += record_of(names, changes).trials[0].epochs
    trial.changes = {**changes, "epochs": 200}
    screen = Console(file=io.StringIO(), width=WIDTH)
    head, columns, numbers, details, *_ = printed(Progress(tuner, of_search(tuner), screen, 1).table())
    assert head.startswith("simulated")
    are_whole(["trial", "arm", "epoch", "val/accuracy", *names], [columns])
    are_whole([trial.arm, "1/200", "100.0 %", "/".join(["1.00"] * len(names))], [numbers])
    assert details.startswith("        ")
    assert details.split()[0] == label(changes).split()[0]


def test_the_counts_are_broken_between_two_of_them(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl", "search.budget={epochs: 50, hours: 2}")
    tuner.record_start(tuner.next().number)
    screen = Console(file=io.StringIO(), width=40)
    lines = Progress(tuner, of_search(tuner), screen, 1)._head()
    assert lines[0].startswith("simulated  0 of 14 trials ended")
    assert all(line.startswith("  ") for line in lines[1:])
    are_whole(["0 epochs", "0 s"], lines)


# ---- an evaluation ----

CLASSES = ["playing acoustic guitar", "eating with cutlery", "dog"]


def scores(*right: float) -> Scores:
    share = torch.tensor(right, dtype=torch.float64)
    return Scores(1.0, 1.0, 1.0, 1.0, share, share)


@pytest.mark.parametrize("names", [("audio", "visual"), ("audio", "text", "visual")])
def test_of_an_evaluation_no_cell_is_folded(names):
    counts, confused = torch.tensor([12350, 8, 6]), [(0, 1, 12345), (1, 2, 3), (2, 0, 1)]
    alone = {name: scores(*torch.eye(3)[number].tolist()) for number, name in enumerate(names)}
    this = Evaluation(counts, scores(1.0, 0.0, 1.0), alone, confused)
    other = Evaluation(counts, scores(0.0, 1.0, 1.0), dict.fromkeys(names, scores(1, 0, 0)), confused)
    shown = Result(ModelEvaluation(None, this), ModelEvaluation(None, other), "test", CLASSES, {}, "", None, [])
    for table_of in (
        evaluated.totals_table,
        evaluated.hardest_table,
        evaluated.confusions_table,
        evaluated.leads_table,
        evaluated.against_table,
        evaluated.changes_table,
    ):
        table = table_of(shown)
        are_whole(cells_of(table), printed(table))


def test_classes_that_are_numbers_are_called_classes_and_modalities_alone_in_every_table():
    counts, confused = torch.tensor([7, 8, 6]), [(1, 2, 3), (0, 1, 2), (2, 0, 1)]
    alone = {"audio": scores(1, 0, 0), "visual": scores(0, 1, 1)}
    this = Evaluation(counts, scores(1.0, 0.0, 1.0), alone, confused)
    other = Evaluation(counts, scores(0.0, 1.0, 1.0), dict.fromkeys(alone, scores(1, 1, 1)), confused)
    classes = ["8", "dog", "10"]
    shown = Result(ModelEvaluation(None, this), ModelEvaluation(None, other), "test", classes, {}, "", None, [])
    hardest, confusions, leads, changes = (
        " ".join(cells_of(table(shown)))
        for table in (
            evaluated.hardest_table,
            evaluated.confusions_table,
            evaluated.leads_table,
            evaluated.changes_table,
        )
    )
    for text in (hardest, confusions):
        tells(text, "class 8", "class 10", "dog")
    assert "class dog" not in hardest
    tells(leads, "audio alone", "visual alone", "class 8 +100.0", "dog +100.0")
    tells(hardest, "audio alone", "visual alone")
    tells(changes, "class 8 +100.0", "dog -100.0")


# ---- probes ----


@pytest.mark.parametrize("names", [("audio", "visual"), ("audio", "text", "optical_flow")])
def test_of_probes_no_cell_is_folded(names):
    encoder = Encoder(Path("best.pt"), Accuracy(1.0, 1.0, 1.0), Accuracy(1.0, 1.0, 1.0), 1e-4, True)
    other = Encoder(Path("best.pt"), Accuracy(0.0, 0.0, 0.0), Accuracy(0.0, 0.0, 0.0), 1e-4, True)
    rows = [
        Row("modulated", Modulation(), Accuracy(1.0, 1.0, 1.0), dict.fromkeys(names, encoder)),
        Row(ALONE, Modulation("none"), None, dict.fromkeys(names, other)),
    ]
    found = probe_table(Report("validation", 12345, 2000, 10, 0.12, rows, None))
    are_whole(cells_of(found), printed(found))


@pytest.mark.parametrize("names", [("audio", "visual"), ("audio", "text", "optical_flow")])
def test_of_probes_over_the_epochs_no_cell_is_folded(names):
    roles = ("modulated", "baseline", "alone")
    lines = tuple(Line(role, name, (1,), (7, 8), ((0.0,), (1.0,))) for name in names for role in roles)
    found = curve_table(ProbeCurves("demo", 1, False, (7, 8, 9), (0, 2), {}, lines))
    are_whole(cells_of(found), printed(found))
