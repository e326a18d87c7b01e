"""Learning from earlier searches: which of their trials are used, which are not and why; none becomes an own trial."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import yaml

from search.experiment.arms import ARMS, other_arm
from search.experiment.schema import Experiment, ExperimentError, as_values, to_yaml
from search.experiment.sources import Source
from search.experiment.space import with_changes
from search.report import export
from search.run.best import best_of, effort_of, has_result
from search.run.earlier import EarlierError, EarlierRun, read_earlier
from search.run.folder import UNKNOWN, RunFolder, identify, write
from search.run.journal import Journal, has_events, read
from search.run.trials import TrialRecord
from search.run.version import VERSION
from search.tuner import study as study_module
from search.tuner.search_policy import SearchPolicy
from search.tuner.study import ArmStudy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_tuner import events, experiment, results, simulate
from tests.support.tells import tells

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")

DATA = "abcd1234"  # fingerprint of the data of all searches here
NUMBERS = "space={batch_size: [8, 16, 32, 64], optimizer.lr: [1e-3, 1e-2, 1e-1], modulation.start: [0, 1, 2]}"
LOSS = ("search.metric=val/loss", "search.mode=min")


def lay(runs: Path, name: str, *assignments: str, data: str = DATA, steps: int | None = None) -> RunFolder:
    """Leave a search on disk, simulated to its end or for some steps."""
    asked, folder = experiment(f"name={name}", *assignments), RunFolder(runs / name)
    folder.tune.mkdir(parents=True)
    write(folder.experiment, to_yaml(as_values(asked)))
    identify(folder, data)
    simulate(begin(asked, runs), steps=steps)
    return folder


def begin(asked: Experiment, runs: Path) -> Tuner:
    """Start or resume a search that has learned."""
    path = RunFolder(runs / asked.name).journal
    searches = [] if has_events(path) else read_earlier(asked, runs, DATA)
    tuner = Tuner(asked, Journal(path), SearchPolicy(asked))
    if searches:
        tuner.learn(chain.from_iterable(run.trials for run in searches))
    return tuner


def learn(runs: Path, *assignments: str, of: str = "a", data: str = DATA) -> list[EarlierRun]:
    """Return what a new search learns."""
    return read_earlier(experiment("name=new", f"search.learn_from=[{of}]", *assignments), runs, data)


def mistakes(runs: Path, *assignments: str, of: str = "a", data: str = DATA) -> list[str]:
    with pytest.raises(EarlierError) as error:
        learn(runs, *assignments, of=of, data=data)
    return list(error.value.sentences)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of runs with one search, `a`, whose trials finished, were stopped, and failed."""
    runs = tmp_path_factory.mktemp("finished")
    lay(runs, "a")
    assert {trial.status for trial in read(RunFolder(runs / "a").journal)} == {"finished", "stopped", "failed"}
    return runs


@pytest.fixture
def runs(finished, tmp_path) -> Path:
    """Copy of `finished` that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def trials_of(folder: Path) -> list[TrialRecord]:
    """Return the trials that have a result."""
    return [trial for trial in read(RunFolder(folder).journal) if has_result(trial)]


# ---- which trials ----


def test_of_the_same_space_it_learns_every_trial_that_has_a_result(finished):
    [run] = learn(finished)
    record = read(RunFolder(finished / "a").journal)
    assert [trial.number for trial in run.trials] == [trial.number for trial in record if has_result(trial)]
    assert run.omitted == {"no result": record.count("failed")}
    tells(run, len(run.trials), len(record.trials), "a", record.count("failed"), "no result")
    for trial in run.trials:
        own = record.trials[trial.number]
        assert (trial.arm, trial.status, trial.best) == (own.arm, own.status, own.best)
        assert with_changes(experiment().trial, trial.changes) == with_changes(experiment().trial, own.changes)
        assert trial.internal == {**own.internal, **{k: v for k, v in trial.internal.items() if "modulation.end" in k}}


OUTSIDE = "outside the space"


@pytest.mark.parametrize(
    ("assignments", "is_omitted", "reason"),
    [
        (["space.fusion=[concat, sum]"], lambda c: c["fusion"] == "film", f"`fusion` {OUTSIDE}"),
        (["space.fusion=[concat, sum, film, gated]"], None, ""),
        (
            ["space.optimizer.lr={low: 1e-4, high: 1e-2, log: true}"],
            lambda c: c["optimizer.lr"] > 0.01,
            f"`optimizer.lr` {OUTSIDE}",
        ),
        (
            ["space.modulation.alpha={low: 0.2, high: 0.4}"],
            lambda c: not 0.2 <= c.get("modulation.alpha", 0.3) <= 0.4,
            f"`modulation.alpha` {OUTSIDE}",
        ),
        (
            ["space.modulation.method=[ogm_ge]"],
            lambda c: c["modulation.method"] == "ogm",
            f"`modulation.method` {OUTSIDE}",
        ),
        (["trial.epochs=6"], lambda c: True, "another `epochs`"),
        (["trial.epochs=6", "space.epochs=[4, 6]"], lambda c: True, f"`epochs` {OUTSIDE}"),
        (["trial.epochs=6", "space.epochs=[5, 6]"], None, ""),
        (
            ["trial.modulation.parameters=all"],
            lambda c: c["modulation.method"] != "none",
            "another `modulation.parameters`",
        ),
        (["trial.fusion=film"], lambda c: c["fusion"] != "film", "another `fusion`"),
        (["trial.seed=7"], None, ""),
        (["space.seed=[0, 1]"], None, ""),
        (["space.seed=[1, 2]"], lambda c: True, f"`seed` {OUTSIDE}"),
        (["trial.seed=7", "space.seed=[7, 8]"], lambda c: True, f"`seed` {OUTSIDE}"),
        (["trial.batch_size=16", "space.seed=[1, 2]"], lambda c: True, f"`seed` {OUTSIDE} and another `batch_size`"),
        (["search.trials=40", "search.seed=3", "search.scheduler.name=none", "search.sampler=nsga2"], None, ""),
    ],
)
def test_it_omits_what_is_no_trial_of_its_own_space_and_says_why(finished, assignments, is_omitted, reason):
    [run] = learn(finished, *assignments)
    every = trials_of(finished / "a")
    omitted = [trial.number for trial in every if is_omitted and is_omitted(trial.changes)]
    assert [trial.number for trial in run.trials] == [t.number for t in every if t.number not in omitted]
    failed = read(RunFolder(finished / "a").journal).count("failed")
    assert run.omitted == {"no result": failed} | ({reason: len(omitted)} if omitted else {})
    tells(run, *([len(omitted), reason] if omitted else []))
    studies = {arm: ArmStudy(experiment(*assignments), arm) for arm in ARMS}
    for trial in run.trials:
        studies[trial.arm].learn(trial)  # Optuna accepts it: it could have sampled each value


def test_several_searches_are_learned_from_in_their_order(runs):
    lay(runs, "b", "search.seed=1", "space.fusion=[film]")
    one, other = learn(runs, of="b, a")
    assert (one.name, other.name) == ("b", "a")
    assert {trial.changes["fusion"] for trial in one.trials} == {"film"}


def test_a_search_may_be_named_by_its_folder(runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert learn(Path("elsewhere"), of="runs/a") == [replace(learn(runs)[0], name="runs/a")]


def test_of_a_search_that_still_runs_it_learns_what_has_ended(tmp_path):
    folder = lay(tmp_path, "a", steps=20)
    record = read(folder.journal)
    assert record.count("running")
    [run] = learn(tmp_path)
    assert [trial.number for trial in run.trials] == [trial.number for trial in record if has_result(trial)]
    assert run.omitted["no result"] == record.count("running") + record.count("failed")


def test_a_mapping_that_is_searched_is_one_value(tmp_path):
    """For example, a mapping with an encoder per modality."""
    space = "space={encoder: [small_conv, {audio: small_conv, visual: small_conv}], fusion: [concat, sum, film]}"
    lay(tmp_path, "a", space)
    [run] = learn(tmp_path, space)
    assert set(run.omitted) <= {"no result"}
    assert {json.dumps(trial.changes["encoder"]) for trial in run.trials} == {
        json.dumps(value) for value in ("small_conv", {"audio": "small_conv", "visual": "small_conv"})
    }


def test_what_an_earlier_search_learned_itself_is_not_handed_on(runs):
    lay(runs, "b", "search.seed=1", "search.learn_from=[a]", "search.trials=4")
    [run] = learn(runs, of="b")
    assert [(t.number, t.changes) for t in run.trials] == [(t.number, t.changes) for t in trials_of(runs / "b")]


def test_a_minimised_metric_is_learned_as_one(tmp_path):
    lay(tmp_path, "a", *LOSS)
    [run] = learn(tmp_path, *LOSS)
    assert [t.best for t in run.trials] == [min(m["val/loss"] for m in t.epochs) for t in trials_of(tmp_path / "a")]


# ---- corrupt files, and files of older programs ----


@pytest.mark.parametrize(
    "damaged", [["journal.jsonl"], ["journal.copy.jsonl"], ["journal.jsonl", "journal.copy.jsonl"]]
)
def test_of_a_damaged_journal_it_learns_what_comes_before_the_damage(runs, damaged):
    expected = learn(runs)
    folder = RunFolder(runs / "a")
    for name in damaged:
        lines = (folder.tune / name).read_bytes().splitlines(keepends=True)
        lines[60] = lines[60].replace(b'"event"', b'"tneve"')
        (folder.tune / name).write_bytes(b"".join(lines))
    before = {name: (folder.tune / name).read_bytes() for name in damaged}
    [run] = learn(runs)
    if len(damaged) == 1:
        assert [run] == expected
    else:
        assert 0 < len(run.trials) < len(expected[0].trials)
        assert list(run.trials) == list(expected[0].trials[: len(run.trials)])
    assert {name: (folder.tune / name).read_bytes() for name in damaged} == before


@pytest.mark.parametrize("version", [None, 2, 3])
def test_the_journal_of_an_older_program_is_read(runs, version):
    """Its suggestions have no source, and those of the first version no version."""
    expected, path = learn(runs), RunFolder(runs / "a").journal
    before = events(path)
    for event in before:
        if event["event"] == "suggested":
            del event["source"], event["version"]
            event |= {} if version is None else {"version": version}
    rewrite_journal(path, before)
    assert [replace(t, source=None) for t in expected[0].trials] == list(learn(runs)[0].trials)


def test_an_experiment_of_an_older_program_is_read(runs):
    """It lacks keys that were added later."""
    expected, file = learn(runs), runs / "a" / "experiment.yaml"
    values = yaml.safe_load(file.read_text())
    for key in ("first", "learn_from", "transfer", "share_prefixes"):
        del values["search"][key]
    file.write_text(yaml.safe_dump(values))
    assert learn(runs) == expected


def rewrite_journal(path: Path, happened: list[dict]) -> None:
    for file in path.parent.glob("journal*.jsonl"):
        file.unlink()
    with closing(Journal(path)) as journal:
        for event in happened:
            journal.append({key: value for key, value in event.items() if key != "crc"})


# ---- errors ----


def rewrite(file: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(change((folder / file).read_text()))


@pytest.mark.parametrize(
    ("spoil", "facts"),
    [
        (rewrite("experiment.yaml", lambda text: "name: ["), ["experiment.yaml", "line 1"]),
        (
            rewrite("experiment.yaml", lambda text: text.replace("name: digits", "name: gone.module:Clips")),
            ["`dataset.name`", "gone.module:Clips", "experiment.yaml"],
        ),
        (rewrite("run.json", lambda text: text.replace(f'"version": {VERSION}', '"version": 99')), [99, VERSION]),
        (rewrite("run.json", lambda text: "{"), ["fingerprint"]),
        (lambda folder: (folder / "run.json").unlink(), ["fingerprint"]),
        (rewrite("run.json", lambda text: text.replace(DATA, "beef")), ["beef", DATA]),
        (lambda folder: shutil.rmtree(folder / "tune"), ["no search in"]),
        (lambda folder: shutil.rmtree(folder), ["'a'", "b"]),
    ],
)
def test_a_search_that_cannot_be_learned_from_is_told_with_the_reason(runs, spoil, facts):
    shutil.copytree(runs / "a", runs / "b")
    spoil(runs / "a")
    [sentence] = mistakes(runs)
    assert sentence.startswith("`search.learn_from`: ")
    tells(sentence, "a", *facts)


@pytest.mark.parametrize(
    ("assignments", "facts"),
    [
        (LOSS, ["val/accuracy (max)", "val/loss (min)"]),
        (["search.mode=min"], ["val/accuracy (max)", "val/accuracy (min)"]),
        (["search.metric=val/accuracy/audio"], ["val/accuracy (max)", "val/accuracy/audio (max)"]),
        (
            ["search.metric=[val/accuracy, val/loss]", "search.mode=[max, min]"],
            ["val/accuracy (max) and val/loss (min)"],
        ),
    ],
)
def test_another_metric_is_a_mistake(finished, assignments, facts):
    [sentence] = mistakes(finished, *assignments)
    tells(sentence, "a", *facts)


@pytest.mark.parametrize("of", ["new", "a", "./new"])
def test_the_search_itself_is_a_mistake(runs, of):
    """Whether or not it exists yet, by its name or its folder."""
    lay(runs, "new") if of == "new" else (runs / "new").symlink_to("a")
    [sentence] = mistakes(runs, of=of)
    tells(sentence, of, "itself")


@pytest.mark.parametrize("other", ["./a", "../runs/a", "link"])
def test_the_same_search_by_another_name_is_a_mistake(runs, other):
    (runs / "link").symlink_to("a")
    [sentence] = mistakes(runs, of=f"a, {other}")
    tells(sentence, "a", other, "same search")


def test_the_same_name_twice_is_a_mistake_of_the_file():
    with pytest.raises(ExperimentError) as error:
        experiment("search.learn_from=[a, b, a]")
    tells(error.value, "`search.learn_from`", '["a", "b", "a"]')


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc"])
def test_a_sampler_that_learns_from_nothing_is_a_mistake_of_the_file(sampler):
    with pytest.raises(ExperimentError) as error:
        experiment("search.learn_from=[a]", f"search.sampler={sampler}", NUMBERS)
    [sentence] = error.value.sentences
    tells(sentence, "`search.learn_from`", repr(sampler), "tpe, gp, cmaes or nsga2")
    assert experiment(f"search.sampler={sampler}", NUMBERS).search.learn_from == ()


def test_all_mistakes_are_told_at_once(runs):
    lay(runs, "elsewhere", *LOSS, data="beef")
    found = mistakes(runs, of="elsewhere, nothing, a, new, ./a")
    assert len(found) == 5
    for sentence, facts in zip(
        found,
        [["beef", DATA], ["val/loss (min)"], ["'nothing'", "a, elsewhere"], ["new", "itself"], ["./a", "same search"]],
        strict=True,
    ):
        tells(sentence, "`search.learn_from`", *facts)


def test_data_without_a_fingerprint_are_the_same_where_their_options_are(tmp_path):
    lay(tmp_path, "a", data=UNKNOWN)
    assert learn(tmp_path, data=UNKNOWN)[0].trials
    for options in ({"data": DATA}, {"data": UNKNOWN, "assignments": ["dataset.snr_db=[-18, -9]"]}):
        [sentence] = mistakes(tmp_path, *options.pop("assignments", []), **options)
        tells(sentence, "a", "fingerprint")


# ---- effect on a sampler ----


def draw_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, give a study that has learned the same seeds as one that has not."""
    monkeypatch.setattr(study_module, "_seed", lambda seed, arm, number, attempt, earlier=0: 100 * number + attempt)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("options", [(), LOSS])
@pytest.mark.parametrize("name", ["tpe", "nsga2", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_a_sampler_suggests_what_it_would_with_the_same_trials_as_its_own(tmp_path, name, options, arm, monkeypatch):
    """The journal keeps only their best and last epochs, and of these only the objectives."""
    space = (NUMBERS if name == "cmaes" else "trial.epochs=5", "space.optimizer.lr={low: 1e-3, high: 0.1, log: true}")
    lay(tmp_path, "a", *options, *space, "search.trials=28")
    asked = experiment("search.learn_from=[a]", f"search.sampler={name}", *options, *space)
    tuner = begin(asked, tmp_path)
    tuner.next()  # from here on the journal has them
    learned = [trial for trial in tuner.record.earlier if trial.arm == arm]
    before = read(RunFolder(tmp_path / "a").journal).trials
    assert len(learned) >= 8
    draw_alike(monkeypatch)
    one, other = ArmStudy(asked, arm), ArmStudy(asked, arm)
    for trial in learned:
        one.learn(trial)
        other.add(replace(before[trial.number], number=100 + trial.number, internal=trial.internal))
    had = [trial.changes for trial in learned]
    for number in range(3):
        suggestion = one.suggest(number)
        if suggestion[1] in had:
            break  # unlike an own trial, a learned one may be suggested again
        assert suggestion == other.suggest(number)
    assert number


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_what_it_draws_before_it_knows_enough_is_not_what_the_earlier_search_drew(tmp_path, name, arm):
    """Everything else is the same."""
    space = "space={optimizer.lr: {low: 0.001, high: 0.1}}"
    options = (f"search.sampler={name}", space, "search.trials=24", "search.transfer=0")  # the arms alternate
    lay(tmp_path, "a", *options, steps=12)
    [run] = learn(tmp_path, *options)
    earlier_rates = {trial.changes["optimizer.lr"] for trial in read(RunFolder(tmp_path / "a").journal)}
    study = ArmStudy(experiment(*options), arm)
    mine = [trial for trial in run.trials if trial.arm == arm]
    assert 0 < len(mine) < study.startup
    for trial in mine:
        study.learn(trial)
    assert earlier_rates.isdisjoint(study.suggest(number)[1]["optimizer.lr"] for number in range(24))


def test_it_knows_from_the_first_trial_on_what_is_good():
    """The best trials had a low alpha, and so do the sampler's first suggestions."""
    asked = experiment("search.trials=60", "space={modulation.alpha: {low: 0.0, high: 2.0}}")
    study = ArmStudy(asked, "modulated")
    for number in range(30):
        alpha = number / 15
        epochs = [{"epoch": 0, "val/accuracy": 1 - alpha / 2, "best": 1 - alpha / 2}]
        internal = {"modulation.alpha": alpha, "modulation.method": '"ogm_ge"'}
        study.learn(TrialRecord(number, "modulated", internal, {}, "finished", epochs))
    assert not study.is_determined
    alphas = [study.suggest(number)[1]["modulation.alpha"] for number in range(10)]
    assert sum(alpha < 0.7 for alpha in alphas) >= 8
    assert ArmStudy(asked, "modulated").is_determined


def test_what_was_tried_before_may_be_suggested_again():
    """It is not a trial of this search yet, and may be its best."""
    asked = experiment("space={fusion: [concat, sum]}")
    study = ArmStudy(asked, "baseline")
    for number, fusion in enumerate(("concat", "sum")):
        epochs = [{"epoch": 0, "val/accuracy": 0.5, "best": 0.5}]
        study.learn(TrialRecord(number, "baseline", {"fusion": json.dumps(fusion)}, {}, "finished", epochs))
    assert {study.suggest(number)[1]["fusion"] for number in range(2)} == {"concat", "sum"}
    assert study.trials_with({"fusion": '"sum"'}) == 1


# ---- effect on the search ----


def test_none_of_them_is_a_trial_of_the_search_or_its_best(runs):
    """Not even if all of them were better."""
    path = RunFolder(runs / "a").journal
    better = events(path)
    for event in better:
        if event["event"] == "reported":
            event["metrics"] |= {name: event["metrics"][name] + 2 for name in ("best", "val/accuracy")}
    rewrite_journal(path, better)
    asked = experiment("name=b", "search.learn_from=[a]")
    tuner = begin(asked, runs)
    assert (tuner.remaining_trials, len(tuner.record.trials), tuner.record.over_count) == (14, 0, 0)
    simulate(tuner, at_once=1)
    record = read(RunFolder(runs / "b").journal)
    assert [trial.best > 1 for trial in record.earlier] == [True] * len(record.earlier)
    assert len(record.earlier) > 8
    assert Counter(trial.arm for trial in record) == {"baseline": 7, "modulated": 7}
    for arm in ARMS:
        assert best_of(record, arm, "val/accuracy", "max").value < 1
        assert effort_of(record, arm).trials == 7
    startup = tuner.policy.studies["baseline"].startup
    first_taken = min(trial.number for trial in record if trial.source == Source.OTHER_ARM)
    others = [t for t in record if t.number < first_taken and t.arm == other_arm(record.trials[first_taken].arm)]
    assert sum(map(has_result, others)) >= startup  # own trials only: earlier ones do not count
    assert record.spent.epochs == sum(trial.trained_epochs for trial in record)
    rows = list(csv.DictReader(io.StringIO(export.trials_table(asked, record))))
    assert [row["trial"] for row in rows] == [str(number) for number in range(14)]
    assert max(float(row["val/accuracy"] or 0) for row in rows) < 1


def test_the_journal_holds_of_them_what_a_sampler_learns_from_and_no_more(runs):
    lay(runs, "b", "search.learn_from=[a]", steps=1)
    [event] = [e for e in events(RunFolder(runs / "b").journal) if e["event"] == "learned"]
    assert event["version"] == VERSION
    assert len(event["trials"]) == len(trials_of(runs / "a"))
    for trial, own in zip(event["trials"], trials_of(runs / "a"), strict=True):
        best, last = own.best_epoch("val/accuracy")["epoch"], len(own.epochs) - 1
        assert [epoch["epoch"] for epoch in trial["epochs"]] == sorted({best, last})
        assert {key for epoch in trial["epochs"] for key in epoch} == {"epoch", "best", "val/accuracy"}


def test_a_resumed_search_goes_on_as_it_would_have_though_the_earlier_is_gone(runs):
    """It is killed after any event, also within the one of the learned trials; it then learns again, once."""
    asked, path = experiment("name=b", "search.learn_from=[a]"), RunFolder(runs / "b").journal
    simulate(begin(asked, runs), at_once=1)
    whole, expected = path.read_bytes(), results(read(path))
    first = whole.index(b"\n") + 1
    lines = whole.splitlines(keepends=True)
    cuts = [0, first // 2, first, *(len(b"".join(lines[:count])) for count in range(2, len(lines), 9))]
    for cut in cuts:
        if cut == first:
            shutil.rmtree(runs / "a")
        path.write_bytes(whole[:cut])
        path.with_name("journal.copy.jsonl").unlink()
        tuner = begin(asked, runs)
        simulate(tuner, at_once=1)
        assert [event["event"] for event in events(path)].count("learned") == 1
        if json.loads(lines[whole[:cut].count(b"\n")]).get("status") != "stopped":
            assert results(tuner.record) == expected, cut


def test_a_search_that_was_killed_before_it_learned_needs_the_earlier(runs):
    asked, path = experiment("name=b", "search.learn_from=[a]"), RunFolder(runs / "b").journal
    begin(asked, runs)
    rewrite_journal(path, [])
    shutil.rmtree(runs / "a")
    with pytest.raises(EarlierError):
        begin(asked, runs)


def test_without_earlier_searches_nothing_is_learned_and_nothing_differs(runs):
    simulate(begin(experiment("name=b"), runs))
    assert {event["event"] for event in events(RunFolder(runs / "b").journal)} >= {"suggested", "ended"}
    assert read(RunFolder(runs / "b").journal).earlier == []
    assert results(read(RunFolder(runs / "b").journal)) == results(read(RunFolder(runs / "a").journal))


LINE = b'{"event": "started", "number": 0, "crc": 4076346416}\n'


@pytest.mark.parametrize(
    ("journal", "copy", "found"),
    [
        (None, None, False),
        (b"", b"", False),
        (LINE, None, True),
        (None, LINE, True),
        (LINE[:9], b"", False),
        (LINE[:9], LINE, True),
        (b"damaged\n" + LINE, None, False),
    ],
)
def test_whether_a_journal_has_events(tmp_path, journal, copy, found):
    for name, content in (("journal.jsonl", journal), ("journal.copy.jsonl", copy)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    assert has_events(tmp_path / "journal.jsonl") is found
