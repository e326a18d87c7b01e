"""The page on a run: it says what the folder has, whatever state that is in, and runs nothing that it was given."""

from __future__ import annotations

import errno
import fcntl
import html
import json
import os
import re
import shlex
import threading
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean

import pytest
import torch
from click.testing import CliRunner

from ogmge import checkpoint
from search.cli.main import main
from search.experiment.arms import ARMS
from search.experiment.formatting import format_difference
from search.experiment.schema import Scheduler, as_values, to_yaml
from search.models.probe_curve import Line, ProbeCurves, write_curves
from search.report import sentences as words
from search.report import table
from search.report.facts import Facts, gather
from search.report.markdown import markdown
from search.report.page import describe_start, plotly_script, try_write_report, write_report
from search.report.plots import effects
from search.report.plots import seed_pairs as confirmed
from search.report.plots.curves import MOST_POINTS, curves
from search.report.plots.importance import importance, shares_by_arm
from search.report.plots.modalities import by_modality
from search.report.plots.probes import by_encoder
from search.report.plots.selection import trials_with_result, window_of
from search.report.sentences import headline
from search.run.causes import failure
from search.run.folder import RunFolder, at_work, identify, lock_folder
from search.run.journal import Journal, read
from search.tuner.tuner import Tuner
from search.verdict.decide import verdict
from search.verdict.evidence import ClassDifference, ConfirmedArm, Evidence, read_evidence, write_evidence
from search.verdict.paired import Paired, Spread
from tests.search.tuner.test_tuner import SearchPolicy, experiment, simulate
from tests.support.tells import tells
from tests.wording.laid_out import pairs_of

EVIL = "</script><img src=x onerror=\"document.title='had'\"><b>&amp;"


def run_in(folder: Path, *assignments: str, steps: int | None = None, at_once: int = 2) -> RunFolder:
    """A folder as a search leaves it, whole or after some steps."""
    asked, run = experiment(*assignments), RunFolder(folder)
    folder.mkdir(exist_ok=True, parents=True)
    run.experiment.write_text(to_yaml(as_values(asked)))
    identify(run, "made-up")
    journal = Journal(run.journal)
    simulate(Tuner(asked, journal, SearchPolicy(asked)), at_once, steps)
    journal.close()
    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return run_in(Path("runs/simulated"))


def confirm(run: RunFolder, gain: float, seeds: int = 6) -> None:
    """Leaves a verdict there."""
    baseline = [0.8 + seed / 100 for seed in range(seeds)]
    modulated = [value + gain + 0.001 * seed for seed, value in enumerate(baseline)]
    best = gather(run.path).best
    arms = {arm: ConfirmedArm(best[arm].trial.number, best[arm].trial.changes, None, 4, seeds) for arm in ARMS}
    found, pairs = verdict(modulated, baseline), pairs_of(7, modulated, baseline)
    write_evidence(run.verdict, Evidence("simulated", "val/accuracy", found, "modulated", arms, None, False, pairs))


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if around := [tag for tag in self._open if tag != "span"]:  # a span is part of the text around it
            self.texts.setdefault(around[-1], []).append(data)

    def text(self, tag: str) -> str:
        return " ".join(" ".join(self.texts[tag]).split())

    def json(self, name: str) -> dict:
        place = [attrs.get("id") for tag, attrs in self.elements if tag == "script"].index(name)
        return json.loads(self.texts["script"][place])


def page(run: RunFolder) -> Page:
    return parsed(write_report(run.path))


def parsed(file: Path) -> Page:
    """Without Plotly's script, which takes long to parse."""
    return Page(file.read_text().replace(plotly_script(), ""))


def claims(text: str) -> set[str]:
    """What a text claims of modulation."""
    return {"helps", "hurts"} & set(re.findall(r"\w+", text))


def next_commands(run: RunFolder, *, busy: bool | None = None) -> str:
    """Those that the page shows, the next step's first."""
    facts = gather(run.path, busy=busy)
    first = words.next_step(facts).command
    others = [command for _, command in words.commands(facts)]
    assert first not in others
    return "\n".join(filter(None, [first, *others]))


# ---- the states of a run ----


@pytest.mark.parametrize("steps", [0, 1, 9, 30])
@pytest.mark.parametrize("busy", [True, False])
def test_a_search_that_is_not_done_has_a_page_that_says_so(tmp_path, monkeypatch, steps, busy):
    monkeypatch.chdir(tmp_path)
    run = run_in(Path("runs/simulated"), steps=steps)
    file = write_report(run.path, busy=busy)
    found = parsed(file)
    said = found.text("h1")
    assert claims(said) == set()
    assert ("running" in said) is busy
    tells(found.text("p"), f"{gather(run.path).record.over_count} of 14")
    assert ("--resume" in found.text("code")) is not busy


def test_a_search_that_nobody_confirmed_gives_a_lead_and_the_command(run):
    found = page(run)
    assert claims(found.text("h1")) == set()
    best = gather(run.path).best
    assert len(claims(found.text("p"))) != 1  # neither of the two
    tells(found.text("p"), format_difference("val/accuracy", best["modulated"].value - best["baseline"].value))
    tells(found.text("code"), "uv run python -m search confirm simulated")


@pytest.mark.parametrize(
    ("gain", "claim", "facts"),
    [
        (0.1, {"helps"}, ("10.2 points", "6 seeds")),
        (-0.1, {"hurts"}, ("9.7 points", "6 seeds")),
        (-0.0025, set(), (6,)),
    ],
)
def test_the_verdict_comes_first_with_its_interval(run, gain, claim, facts):
    confirm(run, gain)
    found = page(run)
    first, *_ = words.paragraphs(gather(run.path))
    assert claims(found.text("h1")) == claims(first) == claim
    tells(found.text("h1"), *([] if claim else [6]))
    tells(first, *facts)
    tells(found.text("p"), first)
    low, high = gather(run.path).verdict.interval
    tells(found.text("td"), f"{100 * low:+.1f} to {100 * high:+.1f}")


def test_the_heading_is_not_repeated_below_it(run):
    confirm(run, -0.0025)
    facts = gather(run.path)
    tells(headline(facts), "No difference that 6 seeds can show")
    assert headline(facts) not in " ".join(words.paragraphs(facts))
    tells(words.paragraphs(facts)[0], "6 seeds detect")


def test_a_setting_is_headed_by_the_last_part_of_its_path(run):
    facts = gather(run.path)
    assert {"fusion", "lr", "method", "alpha", "window"} <= set(table.head(facts))
    [row] = [row for row in facts.record if row.number == 0]
    row.changes |= {"optimizer.name": "sgd", "schedule.name": "step"}
    assert {"optimizer.name", "schedule.name", "lr"} <= set(table.head(facts))


def test_the_report_says_when_it_was_written_and_how_trials_are_stopped(run):
    facts = gather(run.path)
    tells(dict(words.provenance(facts))["report written"], "UTC")
    for name, shown in (("asha", "ASHA"), ("median", "median"), ("none", "none")):
        stopping = facts.experiment.search.model_copy(update={"scheduler": Scheduler(name=name)})
        asked = replace(facts, experiment=facts.experiment.model_copy(update={"search": stopping}))
        assert dict(words.overview(asked))["early stopping"] == shown


def confirming(run: RunFolder, *trainings: tuple[int, str, float | None], running: bool) -> None:
    """Leaves a confirmation's trainings there, of seed, role, and the result, None of those that failed."""
    journal = Journal(run.confirmation.journal)
    for number, (seed, role, value) in enumerate(trainings):
        arm = {"arm": role, "internal": {"pair": seed - 7, "role": role}, "changes": {"seed": seed}}
        journal.append({"event": "suggested", "number": number, **arm})
        if value is not None:
            journal.append({"event": "reported", "number": number, "metrics": {"epoch": 0, "best": value}})
        if not running or number + 1 < len(trainings):
            status = "failed" if value is None else "finished"
            journal.append({"event": "ended", "number": number, "status": status, "reason": ""})
    journal.close()


def test_a_confirmation_in_progress_shows_its_pairs_and_no_verdict(run):
    confirming(run, (7, "baseline", 0.5), (7, "modulated", 0.7), (8, "baseline", 0.6), running=True)
    facts = gather(run.path)
    assert claims(headline(facts)) == set()
    tells(headline(facts), "confirmation")
    [line] = confirmed.seeds(facts).figure.data
    assert line["y"] == (50.0, 70.0)


def test_a_confirmation_without_a_pair_to_show_says_so(run):
    unconfirmed = headline(gather(run.path))
    confirming(run, (7, "baseline", 0.5), (7, "modulated", None), running=False)
    said = headline(gather(run.path))
    assert said != unconfirmed
    assert claims(said) == set()
    tells(said, "pair")
    assert confirmed.seeds(gather(run.path)) is None


def test_a_verdict_of_before_says_that_the_search_goes_on(tmp_path):
    run = run_in(tmp_path / "simulated")
    confirm(run, 0.1)
    assert len(words.paragraphs(gather(run.path))) == 1
    longer = experiment("search.trials=20")
    run.experiment.write_text(to_yaml(as_values(longer)))
    first, second, third = words.paragraphs(gather(run.path))
    tells(first, "14 of 19")  # the baseline has no more than nine configurations
    assert claims(second) == set()
    assert claims(third) == {"helps"}


def test_what_was_stopped_is_to_go_on_and_its_epochs_are_to_come(tmp_path):
    run = run_in(tmp_path / "simulated", steps=9)
    facts = gather(run.path, busy=False)
    begun = [t for t in facts.record if t.status == "running"]
    rows = {row.trial.number: row for row in table.rows(facts)}
    assert begun
    assert {rows[t.number].status for t in begun} == {"waiting"}
    assert {row.status for row in table.rows(gather(run.path, busy=True)) if row.trial.number == begun[0].number} == {
        "running"
    }
    coming = sum(5 - len(t.epochs) for t in begun)
    saved = sum(5 - len(t.epochs) for t in facts.record if t.is_over)
    counts = re.findall(r"\d+", dict(words.overview(facts))["epochs"])
    assert sorted(map(int, counts)) == sorted(filter(None, (facts.record.spent.epochs, saved, coming)))


def test_no_command_is_named_that_cannot_be_run_now(run):
    said = next_commands(run)
    assert "search train" not in said  # there is no best.yaml
    assert "search confirm simulated" in said
    run.best.write_text("name: x")
    said = next_commands(run, busy=True)
    assert f"search train {run.best}" in said
    assert "search confirm" not in said


def test_a_folder_with_a_space_in_its_name_is_quoted(tmp_path):
    (tmp_path / "my runs").mkdir()
    run = run_in(tmp_path / "my runs" / "simulated", steps=1)
    run.best.write_text("name: x")
    told = [shlex.split(command) for command in next_commands(run).splitlines()]
    assert {str(run.best), str(run.experiment)} <= {word for command in told for word in command}


def test_before_an_arm_has_a_result_it_is_waited_for(tmp_path):
    run = run_in(tmp_path / "simulated", steps=1)
    tells(words.paragraphs(gather(run.path))[-1], "baseline", "modulated")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"arms": {"modulated": 1}}', '{"claim": "helps"}', '{"claim": "proves", "word": "x"}']
)
def test_a_verdict_that_cannot_be_read_is_none(run, text):
    unconfirmed = headline(gather(run.path))
    run.verdict.write_text(text)
    assert headline(gather(run.path)) == unconfirmed
    tells(page(run).text("p"), run.verdict, "python -m search confirm simulated")


def test_a_search_whose_trials_all_failed_sends_to_the_reasons(tmp_path):
    run = run_in(tmp_path / "simulated", "search.trials=4", steps=0)
    journal = Journal(run.journal)
    asked = gather(run.path).experiment
    tuner = Tuner(asked, journal, SearchPolicy(asked))
    while (trial := tuner.next()) is not None:
        tuner.record_start(trial.number)
        tuner.record_end(trial.number, "failed", failure(EVIL))
    journal.close()
    unfinished = words.paragraphs(gather(run_in(tmp_path / "other", steps=1).path))
    [said] = words.paragraphs(gather(run.path))
    assert said not in unfinished
    found = page(run)
    tells(found.text("p"), said)
    assert EVIL in "".join(found.texts["td"])  # the reason
    assert [attrs for _, attrs in found.elements if attrs.get("class") == "plot"] == []


def test_the_page_is_read_from_a_folder_that_another_process_works_in_and_changes_nothing(run):
    file = run.path.parent / "elsewhere.html"
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
    with lock_folder(run):
        assert at_work(run)
        assert gather(run.path).busy
        write_report(run.path, file)
    assert not at_work(run)
    after = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before
    with (run.path / ".lock").open("w") as lock:  # nothing of the looking is left that would keep a search out
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_journal_that_is_being_written_is_read_up_to_its_last_whole_line(run):
    whole = read(run.journal)
    with run.journal.open("ab") as file:
        file.write(b'{"event": "sugg')
    assert vars(read(run.journal)) == vars(whole)
    run.journal.write_bytes(b"damaged\n")
    assert vars(read(run.journal)) == vars(whole)  # of its copy
    assert read(run.path / "none.jsonl").trials == {}


# ---- what is drawn ----


def test_every_trials_curve_is_drawn_with_its_end_and_the_best_ones_window(run):
    facts = gather(run.path)
    plot = curves(facts)
    drawn: dict[int, list[float]] = {}
    for trace in plot.figure.data[:2]:
        for number, value in zip(trace["customdata"], trace["y"], strict=True):
            if number is not None:
                drawn.setdefault(number, []).append(value)
    assert drawn == {t.number: [round(100 * m["val/accuracy"], 3) for m in t.epochs] for t in facts.record if t.epochs}
    early = [t for t in facts.record if t.status == "stopped"]
    assert early
    ends = [list(trace["x"]) for trace in plot.figure.data if trace["customdata"] == tuple(t.number for t in early)]
    assert ends == [[len(t.epochs) - 1 for t in early]]
    [shape] = plot.figure.layout["shapes"]
    start, end = window_of(facts, facts.best["modulated"].trial)
    assert (shape["x0"], shape["x1"]) == (start - 0.5, end + 0.5)


def test_of_very_many_epochs_each_curve_keeps_its_first_and_last_and_no_more_than_a_browser_draws(run):
    facts = gather(run.path)
    metrics = facts.record.trials[1].epochs[0]
    for trial in facts.record:
        trial.epochs = [{**metrics, "epoch": epoch} for epoch in range(9000)]
    first, second, *_ = curves(facts).figure.data
    places = [x for x in first["x"] + second["x"] if x is not None]
    assert len(places) <= MOST_POINTS
    assert places.count(0) == places.count(8999) == 14


def test_alpha_is_drawn_by_fusion_with_the_best_baseline_of_the_same_split(run):
    facts = gather(run.path)
    plot = effects.alpha(facts)
    modulated = [t for t in trials_with_result(facts) if t.arm == "modulated"]
    drawn = {(trace["name"], x, y) for trace in plot.figure.data for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert drawn == {(t.changes["fusion"], t.changes["modulation.alpha"], round(100 * t.best, 3)) for t in modulated}
    assert plot.figure.layout["xaxis"]["type"] == "log"
    [line] = plot.figure.layout["shapes"]
    assert line["y0"] == line["y1"] == round(100 * facts.best["baseline"].value, 3)
    confirm(run, 0.1)
    again = effects.alpha(gather(run.path))
    assert again.figure.layout["shapes"] == (line,)
    tells(again.note, "the split that chose them", "verdict")


def test_windows_have_the_mean_of_the_trials_that_had_them(run):
    facts = gather(run.path)
    [trace] = effects.window(facts).figure.data
    for start, end, count, mean in zip(trace["x"], trace["y"], trace["text"], trace["customdata"], strict=True):
        own = [
            t.best for t in trials_with_result(facts) if window_of(facts, t) == (start, end) and t.arm == "modulated"
        ]
        assert len(own) == int(count)
        assert mean == pytest.approx(100 * fmean(own), abs=1e-3)


def test_each_part_of_the_space_has_a_plot_of_both_arms(run):
    facts = gather(run.path)
    found = {plot.title: plot for plot in effects.slices(facts)}
    assert set(found) == {"fusion", "optimizer.lr"}
    assert found["fusion"].figure.layout["xaxis"]["type"] == "category"
    assert found["optimizer.lr"].figure.layout["xaxis"]["type"] == "log"
    assert sum(len(trace["x"]) for trace in found["fusion"].figure.data) == len(trials_with_result(facts))


def test_importance_names_the_arms_that_it_is_about(tmp_path):
    facts = gather(run_in(tmp_path / "many", "search.trials=28", "space.optimizer.lr=[1e-4, 1e-3, 1e-2, 1e-1]").path)
    for trial in facts.record:
        trial.status = "finished"
        trial.epochs = [{"epoch": 0, "val/accuracy": 0.1, "best": 0.3 + 0.01 * trial.number}]
    note = importance(facts, shares_by_arm(facts)).note
    tells(note, "rough order")
    for arm in ARMS:
        tells(note, f"{sum(t.arm == arm for t in facts.record)} finished trials of the {arm} arm")
    for trial in facts.record:
        trial.status = "stopped" if trial.arm == "baseline" else "finished"
    note = importance(facts, shares_by_arm(facts)).note
    tells(note, "modulated arm")
    assert "baseline" not in note


def test_importance_finds_what_made_the_difference(tmp_path):
    facts = gather(run_in(tmp_path / "many", "search.trials=28", "space.optimizer.lr=[1e-4, 1e-3, 1e-2, 1e-1]").path)
    for trial in facts.record:
        trial.status = "finished"
        value = 0.9 if trial.changes["fusion"] == "sum" else 0.3
        trial.epochs = [{**(trial.epochs or [{}])[0], "epoch": 0, "val/accuracy": value, "best": value}]
    for trace in importance(facts, shares_by_arm(facts)).figure.data:
        shares = dict(zip(trace["y"], trace["x"], strict=True))
        assert max(shares, key=shares.get) == "fusion"
        assert shares["fusion"] > 0.5
    few = [trial for arm in ARMS for trial in [t for t in facts.record if t.arm == arm][:9]]
    facts.record.trials = {trial.number: trial for trial in few}
    assert shares_by_arm(facts) == {}
    assert importance(facts, {}) is None


def test_modalities_are_drawn_modulated_against_baseline(run):
    facts = gather(run.path)
    accuracy, ratio, coefficient = by_modality(facts)
    assert [(t["name"], t["line"]["dash"]) for t in accuracy.figure.data] == [
        ("audio, modulated", "solid"),
        ("visual, modulated", "solid"),
        ("audio, baseline", "dash"),
        ("visual, baseline", "dash"),
    ]
    epochs = facts.best["modulated"].trial.epochs
    assert ratio.figure.data[0]["y"] == tuple(m["ratio/audio"] for m in epochs)
    assert coefficient.figure.data[1]["y"] == tuple(m["coefficient/visual"] for m in epochs)


def answers(facts: Facts, arm: str, correct: list[bool], names: list[str]) -> None:
    state = {
        "classes": names,
        "targets": torch.tensor([0, 0, 1, 1, 1]).to(torch.int32),
        "correct": torch.tensor(correct),
    }
    file = facts.weights(facts.best[arm].trial.number)
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(state, file)


def test_classes_are_compared_by_the_best_of_each_arm_until_they_are_confirmed(run):
    facts = gather(run.path)
    names = ["cough", EVIL, "none of them"]
    answers(facts, "modulated", [True, True, False, False, True], names)
    answers(facts, "baseline", [True, False, True, False, True], names)
    changes = gather(run.path).classes
    assert [(c.name, round(c.difference, 6)) for c in changes] == [("cough", 0.5), (EVIL, -0.333333)]
    plot = confirmed.classes(gather(run.path))
    assert plot.figure.data[0]["x"] == (-33.33, 50.0)
    assert plot.note == confirmed.SINGLE


def test_classes_have_an_interval_each_but_those_whose_pairs_all_differ_by_the_same(run):
    confirm(run, 0.1)
    cough = Paired(6, 0.1, 0.04, 0.05, 0.15, 0.003, 0.975, Spread(0.9, 0.03), Spread(0.8, 0.02))
    laugh = replace(cough, sd=0.0, low=None, high=None, p=None)
    classes = (ClassDifference("cough", cough, 0.006), ClassDifference("laugh", laugh, None))
    write_evidence(run.verdict, replace(read_evidence(run.verdict), classes=classes))
    [trace] = confirmed.classes(gather(run.path)).figure.data
    drawn = dict(zip(trace["y"], trace["error_x"]["array"], strict=True))
    assert drawn == {"cough": 5.0, "laugh": 0.0}
    tells(page(run).text("td"), "+5.0 to +15.0")


def test_a_ratio_that_is_infinite_is_a_gap(run):
    journal = Journal(run.journal)
    facts = gather(run.path)
    metrics = {
        **facts.best["baseline"].trial.epochs[0],
        "best": 0.99,
        "val/accuracy": 0.99,
        "ratio/audio": float("inf"),
    }
    new = {"arm": "baseline", "internal": {}, "changes": {"fusion": "sum", "optimizer.lr": 0.1}}
    journal.append({"event": "suggested", "number": 99, **new})
    journal.append({"event": "reported", "number": 99, "metrics": metrics})
    journal.append({"event": "ended", "number": 99, "status": "finished", "reason": ""})
    journal.close()
    text = write_report(run.path).read_text()
    assert "Infinity" not in text.replace(plotly_script(), "")
    ratios = [trace["y"] for trace in page(run).json("figures")["ratio"]["data"] if "baseline" in trace["name"]]
    assert [None] in ratios


def test_of_many_classes_those_that_changed_most_are_drawn():
    changes = [confirmed.ClassChange(str(k), k / 100, 0.5) for k in range(100)]
    drawn = confirmed.classes_to_show(changes)
    assert len(drawn) == confirmed.MOST_CLASSES
    assert {c.name for c in drawn} == {str(k) for k in (*range(20), *range(80, 100))}


# ---- nothing that was given is run, nothing is fetched ----


def test_text_of_the_users_is_shown_and_never_markup(tmp_path, monkeypatch):
    run = run_in(tmp_path / "simulated", f"space.fusion={json.dumps(['sum', 'mine:Head' + EVIL])}")
    facts = gather(run.path)
    names = [EVIL, "other"]
    for arm in ARMS:
        answers(facts, arm, [True, arm == "modulated", False, False, True], names)
    journal = Journal(run.journal)
    for number in facts.record.trials:
        journal.append(
            {"event": "ended", "number": number, "status": "failed" if number else "stopped", "reason": EVIL}
        )
    journal.close()
    found = page(run)
    assert [tag for tag, _ in found.elements if tag in ("img", "b", "iframe", "object", "link")] == []
    assert sum(tag == "script" for tag, _ in found.elements) == 4
    assert EVIL in "".join(found.texts["td"])
    assert not any(name.startswith("on") for _, attrs in found.elements for name in attrs)
    drawn = json.dumps(found.json("figures"), ensure_ascii=False)
    assert "<b>" not in drawn.replace("<br>", "")  # Plotly would take it for markup
    assert html.escape("</script>") in drawn


def test_nothing_is_fetched(run):
    found = page(run)
    for _, attrs in found.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert not (attrs.get(name) or "").startswith(("http", "//")), attrs
    [policy] = [
        attrs["content"] for tag, attrs in found.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert run.report.stat().st_size < 6e6


def test_names_in_the_page_are_there_once_and_what_labels_refer_to_is_there(run):
    confirm(run, 0.1)
    found = page(run)
    names = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(names) == len(set(names))
    for tag, attrs in found.elements:
        if tag == "a":
            assert attrs["href"].removeprefix("#") in names
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in names
    assert set(found.json("figures")) <= set(names)


# ---- in MLflow ----


def test_the_description_has_the_answer_first_and_is_never_cut(run):
    confirm(run, 0.1)
    told = markdown(gather(run.path))
    question, answer, *_ = told.split("\n\n")
    tells(question, "OGM-GE", "digits")
    assert answer.startswith("## ")
    assert claims(answer) == {"helps"}
    assert "| optimizer.lr | 0.001, 0.01, 0.1 |" in told
    assert "uv run python -m search ui simulated" in told
    small = [round(0.001 * i, 3) for i in range(1, 200)]
    of_optimizer = [f"space.optimizer.{name}={small}" for name in ("lr", "momentum", "weight_decay")]
    whole = [f"space.{name}={list(range(1, 200))}" for name in ("seed", "batch_size")]
    heads = [f"mine:Head{i}" for i in range(100)]
    many = experiment(
        *of_optimizer, *whole, f"space.modulation.alpha={small}", f"space.fusion={heads}", f"space.encoder={heads}",
        f"space.schedule.gamma={small}", f"space.modulation.end={list(range(1, 200))}",
    )  # fmt: skip
    run.experiment.write_text(to_yaml(as_values(many)))
    told = markdown(gather(run.path))
    assert len(told) <= 5000
    tells(told.rpartition("\n\n")[2], "`report.html`")


def test_names_in_the_description_are_no_markup(tmp_path):
    run = run_in(tmp_path / "simulated", f"space.fusion={json.dumps(['sum', 'mine:a|b<i>`x`'])}")
    told = markdown(gather(run.path))
    assert "| fusion | sum, mine:a\\|b\\<i\\>\\`x\\` |" in told


def test_a_description_that_cannot_be_made_costs_no_search(run, monkeypatch):
    run.experiment.unlink()
    assert describe_start(run) == ""
    left = try_write_report(run, more=False)
    assert left.description is None
    tells(left.lack, run.report, "python -m search report simulated")


def test_who_looks_whether_a_run_is_busy_keeps_nobody_out(run):
    with (run.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.15, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        with lock_folder(run):
            assert at_work(run)


# ---- the command ----


def test_the_command_writes_the_page_and_says_where(run, monkeypatch):
    monkeypatch.chdir(run.path.parent)
    result = CliRunner().invoke(main, ["report", "simulated"])
    assert result.exit_code == 0, result.output
    [line] = result.output.splitlines()
    tells(line, "simulated/report.html")
    assert Path("simulated/report.html").is_file()
    result = CliRunner().invoke(main, ["report", "simulated", "-o", "page.html"])
    assert "curves" in parsed(Path("page.html")).json("figures")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["report", "nothing"], ("'nothing'", "runs/")),
        (["report", "trained"], ("trained", "`uv run run_search.py FILE`")),
        (["report", "simulated", "-o", "missing/page.html"], ("missing/page.html", os.strerror(errno.ENOENT))),
    ],
)
def test_a_mistake_gets_a_line(run, monkeypatch, arguments, facts):
    experiment = run.experiment.read_text()
    monkeypatch.chdir(run.path.parent)
    trained = Path("trained")
    trained.mkdir()
    (trained / "experiment.yaml").write_text(experiment)
    result = CliRunner().invoke(main, arguments)
    [line] = result.output.splitlines()
    assert result.exit_code == 2
    tells(line, *facts)


# ---- probes over the epochs ----


def test_probes_of_configurations_that_are_no_longer_the_best_say_so(run):
    best = {arm: found.trial.changes for arm, found in gather(run.path).best.items()}
    line = Line("modulated", "audio", (1, 2), (7,), ((0.5, 0.6),))
    run.probe_curve.path.mkdir()
    for configurations, outdated in ((best, False), ({**best, "baseline": {"fusion": "film"}}, True)):
        write_curves(run, ProbeCurves("simulated", 1, False, (7,), (0, 2), configurations, (line,)))
        facts = gather(run.path)
        assert facts.is_probe_outdated is outdated
        assert ("has continued" in words.probe_note(facts)) is outdated
        assert [plot.name for plot in by_encoder(facts)] == ["probe0"]


def test_a_run_that_was_never_probed_has_no_probes(run):
    facts = gather(run.path)
    assert (by_encoder(facts), facts.is_probe_outdated, words.probe_note(facts)) == ([], False, "")
