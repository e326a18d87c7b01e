"""Samplers by name: the spaces that they refuse, the parameters that they draw together, agreement with Optuna."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.experiment.load import check
from search.experiment.schema import ExperimentError
from search.experiment.yaml_source import parse
from search.run.trials import TrialRecord
from search.tuner import study as study_module
from search.tuner.samplers import SAMPLERS, StudyHistory
from search.tuner.study import ArmStudy
from search.tuner.tpe import Leaders
from tests.search.tuner.test_study import NAMES, changes, created_studies, run, sampled
from tests.support.tells import tells

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")


def refused(name: str, space: str, trial: str = "{}") -> list[str]:
    text = f"name: x\ndataset: {{name: digits}}\ntrial: {trial}\nspace: {{{space}}}\nsearch: {{sampler: {name}}}\n"
    try:
        check(parse(text, "f.yaml"))
    except ExperimentError as error:
        return list(error.sentences)
    return []


LR, ALPHA = "optimizer.lr: {low: 1e-4, high: 1e-1, log: true}", "modulation.alpha: {low: 0.1, high: 1.5}"
STEPS = (
    "optimizer.lr: [1e-3, 1e-2], batch_size: {low: 16, high: 64}, modulation.alpha: {low: 0.1, high: 1.5, step: 0.1}"
)
FUSION, METHOD, WINDOW = "fusion: [sum, film]", "modulation.method: [ogm, ogm_ge, none]", "modulation.end: [3, 7]"
PATHS = (
    "optimizer.lr",
    "batch_size",
    "fusion",
    "space.fusion",
    "modulation.method",
    "modulation.alpha",
    "modulation.end",
)
OTHERS = ("tpe", "random", "qmc", "gp", "nsga2")  # samplers that accept every space
MISSPELT = ["space.fusion"]  # name that is suggested for `fusio`


@pytest.mark.parametrize(
    ("name", "space", "named"),
    [
        # paths that each sentence names
        ("grid", f"{STEPS}, {FUSION}, {METHOD}, {WINDOW}, modulation.start: {{low: 0, high: 6}}", []),
        ("grid", LR, [["optimizer.lr"]]),
        ("grid", f"{LR}, {FUSION}, {ALPHA}", [["optimizer.lr", "modulation.alpha"]]),
        ("grid", f"{ALPHA}, fusio: {{low: 0.1, high: 1}}", [MISSPELT, ["modulation.alpha"]]),
        ("cmaes", f"{STEPS}, {WINDOW}, modulation.start: {{low: 0, high: 6}}", []),
        ("cmaes", f"{ALPHA}, fusion: [sum], modulation.method: [ogm, none], weights: [null]", []),
        ("cmaes", f"{ALPHA}, {FUSION}", [["fusion"]]),
        ("cmaes", f"{FUSION}, {LR}, {METHOD}", [["fusion", "modulation.method"]]),
        ("cmaes", f"{METHOD}, fusio: [sum]", [MISSPELT, ["modulation.method"]]),
        *((n, f"{LR}, {FUSION}, {METHOD}, {ALPHA}", []) for n in NAMES if n not in ("grid", "cmaes")),
    ],
)
def test_what_a_sampler_cannot_do_is_a_mistake_of_the_file(name, space, named):
    sentences = refused(name, space)
    assert [[path for path in PATHS if f"`{path}`" in sentence] for sentence in sentences] == named
    for sentence in sentences:
        if "`space.fusio`" in sentence:
            tells(sentence, "`space.fusion`", "(f.yaml, line 4)")
        else:
            tells(sentence, "`search.sampler`", *OTHERS, repr(name), "(f.yaml, line 5)")
            tells(sentence, "`step`" if name == "grid" else "numbers")
            assert ("cmaes" if name == "grid" else "grid") not in sentence
    assert any("`space.fusio`" in sentence for sentence in sentences) is ("fusio:" in space)


# ---- parameters that are drawn together ----


def drawn_alone(monkeypatch: pytest.MonkeyPatch) -> set[float]:
    """Collect every alpha that a sampler draws from now on without regard to the other parameters."""
    found: set[float] = set()

    def watched(kind: type[BaseSampler]) -> None:
        original = kind.sample_independent

        def draw(self: Any, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            value = original(self, study, trial, name, distribution)
            if name == "modulation.alpha":
                found.add(value)
            return value

        monkeypatch.setattr(kind, "sample_independent", draw)

    watched(RandomSampler)
    watched(TPESampler)
    return found


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "qmc"])
def test_alpha_is_drawn_with_everything_else_after_the_start(name, monkeypatch):
    """Even if few trials finish, as with ASHA."""
    alone = drawn_alone(monkeypatch)
    study = ArmStudy(sampled(name), "modulated")
    ends = [("finished" if n % 3 == 0 else "stopped", n * 7 % 5 / 5) for n in range(6 + 4)]
    alphas = [c["modulation.alpha"] for c in changes(run(study, "modulated", ends))]
    assert len(set(alphas)) == len(alphas)
    assert not alone & set(alphas[6:])
    assert name == "qmc" or alone & set(alphas[:6])


def test_alpha_is_inherited_with_the_rest_but_for_mutations(monkeypatch):
    """In nsga2, a child takes its parameters from two parents, and one parameter in seven mutates."""
    study = ArmStudy(sampled("nsga2"), "modulated")
    ends = [("finished" if n % 3 == 0 else "stopped", n * 7 % 5 / 5) for n in range(6)]
    parents = changes(run(study, "modulated", ends))
    alone = drawn_alone(monkeypatch)
    children = changes(run(study, "modulated", [("running", 0.0)] * 30, first=6))
    inherited = [c for c in children if c["modulation.alpha"] not in alone]
    assert len(inherited) > 20
    for child in inherited:
        assert child["modulation.alpha"] in [p["modulation.alpha"] for p in parents]
    rates = {p["optimizer.lr"]: p["modulation.alpha"] for p in parents}
    together = [c for c in inherited if rates.get(c["optimizer.lr"]) == c["modulation.alpha"]]
    assert len(together) > len(inherited) / 4  # by chance it would be one in six


@pytest.mark.parametrize("arm", ["baseline", "modulated"])
def test_tpe_suggests_what_optunas_own_does(arm, monkeypatch):
    """Ours is given the space, in which one parameter has a single value; Optuna's infers it."""
    kinds = ("failed", "running", "finished", "stopped", "stopped")
    ends = [(kinds[n % 5], n * 7 % 11 / 11) for n in range(25)]
    asked = sampled("tpe", "space.schedule.gamma=[0.1]")
    ours = changes(run(ArmStudy(asked, arm), arm, ends))

    def theirs(history: StudyHistory, seed: int) -> TPESampler:
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=history.startup)

    monkeypatch.setitem(SAMPLERS, "tpe", theirs)
    assert ours == changes(run(ArmStudy(asked, arm), arm, ends))


# ---- gp; most of its other tests are slow ----


def test_gp_goes_on_after_a_resume_to_the_bit():
    ends = [("finished", 0.5), ("stopped", 0.2), ("failed", 0.0), ("running", 0.0), ("stopped", 0.3)]
    ends += [("finished", 0.1 * n) for n in range(6)]
    whole, resumed = (ArmStudy(sampled("gp"), "modulated") for _ in range(2))
    records = run(whole, "modulated", ends)
    for record in records[:9]:
        resumed.add(record)
    assert changes(run(resumed, "modulated", ends[9:], first=9)) == changes(records[9:])


def test_gp_reckons_with_what_is_running():
    asked = sampled("gp")
    ends = [*[("finished", 0.1 * n) for n in range(8)], ("running", 0.0)]
    records = run(ArmStudy(asked, "modulated"), "modulated", ends)
    apart, beside = ArmStudy(asked, "modulated"), ArmStudy(asked, "modulated")
    for study, known in ((apart, 8), (beside, 9)):
        for record in records[:known]:
            study.add(record)
    assert apart.suggest(9) != beside.suggest(9)


# ---- several objectives ----

SEVERAL = "search.metric=[val/accuracy,val/loss]", "search.mode=[max,min]"
TRADERS = [name for name in NAMES if name not in ("gp", "cmaes")]


def trade(study: ArmStudy, first: int, last: int, end: str = "finished") -> list[TrialRecord]:
    """Run trials whose accuracy and loss both rise with alpha."""
    records = []
    for number in range(first, last):
        internal, found = study.suggest(number)
        alpha = found["modulation.alpha"]
        epochs = [{"epoch": e, "val/accuracy": alpha - (1 - e), "val/loss": alpha, "best": alpha} for e in range(2)]
        records.append(TrialRecord(number, "modulated", internal, found, end, epochs))
        study.tell(records[-1])
    return records


@pytest.mark.parametrize("end", ["finished", "stopped"])
@pytest.mark.parametrize("name", TRADERS)
def test_a_study_of_several_objectives_takes_results_and_goes_on_after_a_resume(name, end, monkeypatch):
    asked = sampled(name, *SEVERAL)
    whole, studies = ArmStudy(asked, "modulated"), created_studies(monkeypatch)
    resumed = ArmStudy(asked, "modulated")
    for record in trade(whole, 0, 16, end):
        resumed.add(record)
    assert changes(trade(resumed, 16, 22)) == changes(trade(whole, 16, 22))
    assert studies[0].trials[0].state == (TrialState.COMPLETE if end == "finished" else TrialState.PRUNED)
    assert studies[0].directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


@pytest.mark.parametrize("name", ["tpe", "nsga2", pytest.param("gp", marks=pytest.mark.slow)])
def test_those_that_learn_look_at_every_objective(name):
    """If only the second objective depends on alpha, alpha moves in its direction."""

    def mean(*assignments: str) -> float:
        study, alphas = ArmStudy(sampled(name, *assignments), "modulated"), []
        for number in range(60):
            internal, found = study.suggest(number)
            alphas.append(found["modulation.alpha"])
            epoch = {"epoch": 0, "val/accuracy": 0.5, "val/loss": alphas[-1], "best": 0.5}
            study.tell(TrialRecord(number, "modulated", internal, found, "finished", [epoch]))
        return sum(alphas[30:]) / 30

    assert mean(*SEVERAL) < 0.5
    assert mean(SEVERAL[0], "search.mode=max") > 1


@pytest.mark.parametrize("end", ["finished", "stopped"])
@pytest.mark.parametrize("name", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_of_an_earlier_search_every_objective_is_learned(name, end, monkeypatch):
    """A study that learned suggests the same as one that had the same trials itself, from the same seeds."""
    monkeypatch.setattr(study_module, "_seed", lambda seed, arm, number, attempt, earlier=0: 100 * number + attempt)
    asked = sampled(name, *SEVERAL)
    learned, own = ArmStudy(asked, "modulated"), ArmStudy(asked, "modulated")
    for record in trade(ArmStudy(asked, "modulated"), 0, 16, end):
        learned.learn(record)
        own.add(replace(record, number=100 + record.number))
    assert changes(trade(learned, 0, 3)) == changes(trade(own, 0, 3))


def test_cmaes_takes_one_objective():
    with pytest.raises(ExperimentError) as error:
        sampled("cmaes", *SEVERAL)
    [sentence] = error.value.sentences
    tells(sentence, "`search.sampler`", *OTHERS, "grid", "'cmaes'", "metrics")


# ---- notes that samplers leave on their trials ----

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True), "n": IntDistribution(0, 5)}
CATEGORIES = {**SPACE, "c": CategoricalDistribution(["a", "b"])}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("name", "sampler", "space"),
    [
        ("cmaes", CmaEsSampler(seed=1, popsize=7), SPACE),  # population size for three numbers
        ("nsga2", NSGAIISampler(seed=1, population_size=5), CATEGORIES),
    ],
)
def test_what_is_written_again_is_what_the_sampler_wrote_itself(name, sampler, space, direction, monkeypatch):
    """The generation of each trial, and the state of the optimiser."""
    own = optuna.create_study(direction=direction, sampler=sampler)
    for _ in range(40):
        trial = own.ask(space)
        own.tell(trial, (trial.params["x"] - 0.3) ** 2 + trial.params["y"])
    studies = created_studies(monkeypatch)
    history = StudyHistory(own, space, {t.number: t.values for t in own.trials}, 5, Leaders(own.direction))
    SAMPLERS[name](history, 2)
    [again] = studies
    found = again.get_trials(states=[TrialState.COMPLETE])
    assert len(found) > 40 - 7
    for trial, original in zip(found, own.trials, strict=False):
        assert trial.params == original.params
        assert _generation(trial) == _generation(original)
    assert _optimizer(found) == pytest.approx(_optimizer(own.trials[: len(found)]))


def _generation(trial: optuna.trial.FrozenTrial) -> int | None:
    return next((v for k, v in trial.system_attrs.items() if k.endswith(":generation")), None)


def _optimizer(trials: list[optuna.trial.FrozenTrial]) -> list[float]:
    """Return the mean, step size and covariance of CMA-ES from the last trial that has them in its notes."""
    for trial in reversed(trials):
        parts = {k: v for k, v in trial.system_attrs.items() if k.startswith("cma:optimizer")}
        if parts:
            state = pickle.loads(bytes.fromhex("".join(parts[f"cma:optimizer:{i}"] for i in range(len(parts)))))
            return [*state._mean, state._sigma, *state._C.ravel()]
    return []
