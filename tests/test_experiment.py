"""Experiment files: what a good one means, and every mistake of a bad one at once, each with path, line and cure."""

from __future__ import annotations

import copy
import dataclasses
import doctest
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.digits import Digits
from datasets.registry import BUILT_IN
from ogmge.config import Schedule, TrialConfig
from search import faults
from search.document import Document, Place, parse
from search.experiment import Experiment, ExperimentError, resolved, to_yaml
from search.validation import check, load

if TYPE_CHECKING:
    from fractions import Fraction

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "experiments" / "demo.yaml"
KNOWN = f"{', '.join(BUILT_IN)} or package.module:Class"
HEAD = "name: x\ndataset: {name: digits}\n"


def checked(text: str) -> Experiment:
    return check(parse(text, "f.yaml"))


def mistakes(document: Document) -> list[str]:
    try:
        check(document)
    except ExperimentError as error:
        return list(error.sentences)
    return []


def mistakes_in(text: str) -> list[str]:
    return mistakes(parse(text, "f.yaml"))


# ---- data sets of one's own ----


@dataclasses.dataclass(frozen=True)
class Clips:
    """Two ways to be wrong: a type, and what is checked after it."""

    clips: int = 3
    root: Path = Path("data")
    rates: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError(f"`clips` must be at least 1, but got {self.clips}")

    def open(self) -> None: ...


class Plain:
    """Says what it takes by its signature only."""

    def __init__(self, folder: str, seconds: float = 1.0, *more: int) -> None: ...
    def open(self) -> None: ...


class Anything:
    """Takes whatever comes."""

    def __init__(self, **options: Any) -> None: ...
    def open(self) -> None: ...


class Nothing:
    """Takes no options."""

    def open(self) -> None: ...


@dataclasses.dataclass
class Named:
    """Has an option that is called as the data set's own name is."""

    name: str = "inner"
    hook: Callable[[int], Nothing] | None = None

    def open(self) -> None: ...


@dataclasses.dataclass
class Untyped:
    """Has a field of a type that no file can hold."""

    source: Nothing | None = None
    clips: int = 3

    def open(self) -> None: ...


@dataclasses.dataclass
class Unknown:
    """Has a field of a type that is imported for type checkers only."""

    source: Fraction | None = None
    clips: int = 3

    def open(self) -> None: ...


class Closed:
    """Cannot be opened."""


OWN = __name__


def own(options: str) -> str:
    return f"name: x\ndataset: {{name: {OWN}:{options}}}\n"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("Clips", {"clips": 3, "root": "data", "rates": [0.5]}),
        ("Clips, clips: 5, root: there, rates: [1, 2e-1]", {"clips": 5, "root": "there", "rates": [1.0, 0.2]}),
        ("Plain, folder: here", {"folder": "here"}),
        ("Anything, what: [ever, {it: is}], day: 2020-01-01", {"what": ["ever", {"it": "is"}], "day": "2020-01-01"}),
        ("Nothing", {}),
        ("Named", {"hook": None}),
        ("Untyped, clips: 5", {"clips": 5}),
        ("Unknown, clips: 5", {"clips": 5}),
    ],
)
def test_a_data_set_of_ones_own_takes_its_options(options, found):
    dataset = checked(own(options)).dataset
    assert dataset.pop("name") == f"{OWN}:{options.partition(',')[0]}"
    assert dataset == found


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        ("Clips, clip: 5", ["`dataset.clip` is no known key; did you mean `clips`?"]),
        ("Clips, clips: many", ["`dataset.clips` must be a whole number, but got 'many'"]),
        ("Clips, clips: 0", ["`dataset` is wrong: `clips` must be at least 1, but got 0"]),
        (
            "Clips, clip: 5, clips: many, rates: [1, x]",
            [
                "`dataset.clip` is no known key; did you mean `clips`?",
                "`dataset.clips` must be a whole number, but got 'many'",
                "`dataset.rates[1]` must be a number, but got 'x'",
            ],
        ),
        ("Plain", ["`dataset.folder` is missing"]),
        (
            "Plain, holder: here, seconds: 3, xyz: 1",
            [
                "`dataset.holder` is no known key; did you mean `folder`?",
                "`dataset.xyz` is no known key: expected one of folder, seconds",
                "`dataset.folder` is missing",
            ],
        ),
        ("Nothing, a: 1", ["`dataset.a` is no known key: there are none"]),
        ("Untyped, clip: 5", ["`dataset.clip` is no known key; did you mean `clips`?"]),
        ("Unknown, clip: 5", ["`dataset.clip` is no known key; did you mean `clips`?"]),
    ],
)
def test_wrong_options_of_a_data_set_of_ones_own_are_named(options, sentences):
    assert mistakes_in(own(options)) == [f"{sentence} (f.yaml, line 2)" for sentence in sentences]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digit", "must be one of {KNOWN}, but got 'digit'; did you mean `digits`?"),
        ("imagenet", "must be one of {KNOWN}, but got 'imagenet'"),
        (
            "nowhere.at.all:Data",
            "must be a class that can be imported (No module named 'nowhere'), but got 'nowhere.at.all:Data'",
        ),
        (
            "json:Data",
            "must be a class that can be imported (module 'json' has no attribute 'Data'), but got 'json:Data'",
        ),
        ("json:dumps", "must be a class, and json:dumps is a function, but got 'json:dumps'"),
        ("builtins:int", "must be a class with a method `open()`, and builtins:int has none, but got 'builtins:int'"),
        (f"{OWN}:Closed", "must be a class with a method `open()`, and {0} has none, but got '{0}'"),
        ("3", "must be {KNOWN}, but got 3"),
        ("[digits]", 'must be {KNOWN}, but got ["digits"]'),
        ("", "must be {KNOWN}, but got null"),
    ],
)
def test_a_data_set_that_is_unknown_is_named(name, sentence):
    text = f"name: x\ndataset:\n  seed: 1\n  name: {name}\n"
    assert mistakes_in(text) == [f"`dataset.name` {sentence.format(name, KNOWN=KNOWN)} (f.yaml, line 4)"]


@pytest.mark.parametrize("name", [":", "a b:c", "x:", "1:2", "..:x", "json:", "json:dumps.x", "a:b:c"])
def test_a_data_set_whose_name_is_odd_is_unknown_and_no_more(name):
    (sentence,) = mistakes_in(f"name: x\ndataset: {{name: {name!r}}}\n")
    assert sentence.startswith("`dataset.name` must be a class")
    assert sentence.endswith("(f.yaml, line 2)")


def test_a_data_set_without_a_name_is_refused():
    assert mistakes_in("name: x\ndataset:\n  seed: 1\n") == [
        f"`dataset.name` must be {KNOWN}, but got null (f.yaml, line 2)"
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("snr: [1, 2]", "`dataset.snr` is no known key; did you mean `snr_db`?"),
        ("snr_db: [1]", "`dataset.snr_db[1]` is missing"),
        ("snr_db: [1, 2, 3]", "`dataset.snr_db` must be a list of at most 2 items, but got [1, 2, 3]"),
        ("snr_db: [a, 2]", "`dataset.snr_db[0]` must be a number, but got 'a'"),
        ("snr_db: 3", "`dataset.snr_db` must be a list, but got 3"),
        ("snr_db: [2, 1]", "`dataset` is wrong: `snr_db` must be [lowest, highest], but got [2.0, 1.0]"),
        ("snr_db: [.nan, .inf]", "`dataset` is wrong: `snr_db` must be two finite numbers, but got [nan, inf]"),
        ("tones_per_image: 2.5", "`dataset.tones_per_image` must be a whole number, but got 2.5"),
        ("seed: '1'", "`dataset.seed` must be a whole number, but got '1'"),
    ],
)
def test_wrong_options_of_a_built_in_data_set_are_named(options, sentence):
    assert mistakes_in(f"name: x\ndataset:\n  name: digits\n  {options}\n")[0].startswith(sentence)


# ---- what is right ----


def test_the_demo_means_what_its_comments_say():
    demo = load(DEMO)
    assert demo.name == "demo"
    assert demo.dataset == {**dataclasses.asdict(Digits()), "snr_db": [-18.0, -10.0]}
    assert demo.trial.optimizer.lr == 1e-2
    assert demo.trial.schedule.milestones == (9,)
    assert list(demo.space)[:2] == ["fusion", "optimizer.lr"]
    assert (demo.search.scheduler.name, demo.search.scheduler.grace_epochs) == ("median", 4)


def test_two_lines_are_an_experiment_with_every_default():
    experiment = checked(HEAD)
    assert experiment.trial == TrialConfig()
    assert (experiment.space, experiment.search.trials, experiment.tracking.uri) == ({}, 16, None)
    assert experiment.dataset == {**dataclasses.asdict(Digits()), "snr_db": [-18.0, -10.0]}


def test_the_command_line_is_put_over_the_file():
    demo = load(DEMO, ["search.trials=4", "trial.fusion=sum", "dataset.snr_db=[-12,-4]", "trial.optimizer.lr=1e-4"])
    assert (demo.search.trials, demo.trial.fusion, demo.trial.optimizer.lr) == (4, "sum", 1e-4)
    assert demo.dataset["snr_db"] == [-12.0, -4.0]
    assert not {"fusion", "optimizer.lr"} & set(demo.space)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("trial.optimizer.lr=1", 1.0),
        ("trial.modulation.alpha=0", 0.0),
        ("search.resources.gpu=1", 1.0),
        ("search.resources.cpu=0.5", 0.5),
        ("trial.weights=null", None),
        ("trial.weights={a: null, b: DEFAULT}", {"a": None, "b": "DEFAULT"}),
        ("trial.encoder={a: mlp, b: 'torchvision:vit_b_16'}", {"a": "mlp", "b": "torchvision:vit_b_16"}),
        ("trial.schedule={name: step, milestones: [3, 9]}", Schedule("step", (3, 9))),
        ("search.metric=val/loss", "val/loss"),
    ],
)
def test_a_setting_is_taken_as_it_is_meant(setting, value):
    path = setting.partition("=")[0]
    assert attrgetter(path)(load(DEMO, [setting])) == value


@pytest.mark.parametrize("name", ["x", "7", "a.b-c_d", "A" * 100, "1e3", "2020-01-01", "null", "yes"])
def test_a_name_that_is_a_folder_name_is_taken(name):
    assert checked(f"name: '{name}'\ndataset: {{name: digits}}").name == name


ROUND = [
    HEAD,
    HEAD + "tracking: {uri: 'http://localhost:5000', checkpoints: none}\n",
    HEAD + "trial: {encoder: {a: mlp, 'b c': 'x:y'}, weights: {a: null, 'b c': '1e3'}, epochs: 7}\n",
    HEAD + "trial: {optimizer: {lr: 1e-10, weight_decay: 0}, seed: 9007199254740993}\n",
    HEAD + "space: {weights: [null, DEFAULT, {a: null}], schedule.milestones: [[], [1], [1, 2]]}\n",
    HEAD + "space: {optimizer.lr: {low: 1e-5, high: 1, log: true}, epochs: {low: 1, high: 9, step: 2}}\n",
    own("Clips, clips: 5, root: there"),
    own("Anything, what: [ever, {it: '1e3'}], day: 2020-01-01, half: 0x10, text: 'a: b #'"),
    own("Named"),
]


@pytest.mark.parametrize("text", [DEMO.read_text(encoding="utf-8"), *ROUND], ids=lambda text: text.split("\n")[2][:60])
def test_an_experiment_that_is_written_out_is_the_same_when_read_again(text, tmp_path):
    first = checked(text)
    path = tmp_path / "experiment.yaml"
    path.write_text(to_yaml(resolved(first)), encoding="utf-8")
    again = load(path)
    assert again == first
    assert to_yaml(resolved(again)) == path.read_text(encoding="utf-8")


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True))
def test_any_name_is_the_same_when_read_again(name):
    assert checked(to_yaml({**resolved(checked(HEAD)), "name": name})).name == name


def test_every_default_is_written_out():
    values = yaml.safe_load(to_yaml(resolved(checked(HEAD))))
    assert list(values) == ["name", "dataset", "trial", "space", "search", "confirm", "tracking", "origin"]
    assert set(values["trial"]) == {f.name for f in dataclasses.fields(TrialConfig)}
    assert values["trial"]["modulation"]["alpha"] == 0.1
    assert values["dataset"]["tones_per_image"] == 2
    assert values["search"]["scheduler"]["reduction_factor"] == 3


# ---- what is wrong ----

NAME = "is to be a folder's name: letters, digits, dots, dashes and underscores, 100 at most"
FUSIONS = "concat, sum, film, gated or package.module:factory"
SAMPLERS = "'tpe', 'random', 'grid', 'qmc', 'gp', 'cmaes' or 'nsga2'"
SECTIONS = "expected one of name, dataset, trial, space, search, confirm, tracking, origin"

DOZEN = """\
name: ../x
dataset:
  name: digits
  snr: [-18, -10]
trial:
  epochs: twelve
  batch_size: 0
  fusion: conact
  optimzer: {lr: 1}
  modulation:
    alpha: .nan
    start: 60
    end: 50
  optimizer:
    momentum: 1
    lr: .inf
  schedule: {name: steps, milestones: [3, x]}
space:
  fusion: []
  optimizer.lrr: [1]
  optimizer.lr: {low: 1, high: 1e-3}
  modulation.alpha: 3
search:
  trials: 1
  sampler: tpee
  scheduler: {grace_epoch: 3}
  resources: {gpu: -1, cpu: true}
trakcing: {}
"""


def test_every_mistake_of_a_file_is_told_at_once_in_the_order_of_its_lines():
    expected = [
        (1, f"`name` is wrong: '../x' {NAME}"),
        (4, "`dataset.snr` is no known key; did you mean `snr_db`?"),
        (6, "`trial.epochs` must be a whole number, but got 'twelve'"),
        (7, "`trial.batch_size` must be at least 1, but got 0"),
        (8, f"`trial.fusion` must be {FUSIONS}, but got 'conact'; did you mean `concat`?"),
        (9, "`trial.optimzer` is no known key; did you mean `optimizer`?"),
        (11, "`trial.modulation.alpha` must be a finite number of at least 0, but got NaN"),
        (13, "`trial.modulation.end` must be at least `start` (60), but got 50"),
        (15, "`trial.optimizer.momentum` must be at least 0 and below 1, but got 1.0"),
        (16, "`trial.optimizer.lr` must be a finite number above 0, but got Infinity"),
        (17, "`trial.schedule.name` must be 'step', 'cosine' or 'constant', but got 'steps'; did you mean `step`?"),
        (17, "`trial.schedule.milestones[1]` must be a whole number, but got 'x'"),
        (19, "`space.fusion` must be a list of one choice or more, but it is empty"),
        (20, "`space.optimizer.lrr` is no path into `trial`; did you mean `optimizer.lr`?"),
        (21, "`space.optimizer.lr` must be a range with `low` below `high`, but got 1 and 0.001"),
        (22, "`space.modulation.alpha` must be a list of choices or a range {low, high}, but got 3"),
        (24, "`search.trials` must be at least 2, but got 1"),
        (25, f"`search.sampler` must be {SAMPLERS}, but got 'tpee'; did you mean `tpe`?"),
        (26, "`search.scheduler.grace_epoch` is no known key; did you mean `grace_epochs`?"),
        (27, "`search.resources.cpu` must be a number or 'auto', but got true"),
        (27, "`search.resources.gpu` must be at least 0 or 'auto', but got -1"),
        (28, "`trakcing` is no known key; did you mean `tracking`?"),
    ]
    assert mistakes_in(DOZEN) == [f"{text} (f.yaml, line {line})" for line, text in expected]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        # unknown keys
        ("trail: {}", 3, "`trail` is no known key; did you mean `trial`?"),
        ("xyz: 1", 3, f"`xyz` is no known key: {SECTIONS}"),
        ("'': 1", 3, f"`` is no known key: {SECTIONS}"),
        ("trial:\n  modulation:\n    alhpa: 1", 5, "`trial.modulation.alhpa` is no known key; did you mean `alpha`?"),
        ("trial: {__pydantic_config__: 1}", 3, None),
        (
            "search:\n  scheduler:\n    name: asha\n    reduction_facto: 2",
            6,
            "`search.scheduler.reduction_facto` is no known key; did you mean `reduction_factor`?",
        ),
        (
            "space:\n  optimizer.lr:\n    low: 1\n    high: 2\n    stepp: 1",
            7,
            "`space.optimizer.lr.stepp` is no known key; did you mean `step`?",
        ),
        # paths of the space
        ("space: {optimizer.rl: [1]}", 3, "`space.optimizer.rl` is no path into `trial`; did you mean `optimizer.lr`?"),
        ("space:\n  fusion: [sum]\n  epoch: [1]", 5, "`space.epoch` is no path into `trial`; did you mean `epochs`?"),
        ("space: {optimizer: [1]}", 3, "`space.optimizer` is no path into `trial`; did you mean"),
        ("space: {'': [1]}", 3, "`space.` is no path into `trial`: expected one of epochs, batch_size"),
        ("space: {fusion.x: [1]}", 3, "`space.fusion.x` is no path into `trial`; did you mean `fusion`?"),
        ("trial: {encoder: {a.b: mlp}}\nspace: {encoder.a.b: [mlp]}", 4, "`space.encoder.a.b` is no path into `trial`"),
        # the entries of the space
        ("space: {fusion: []}", 3, "`space.fusion` must be a list of one choice or more, but it is empty"),
        (
            "space: {fusion: [sum, summ]}",
            3,
            f"`space.fusion[1]` must be {FUSIONS}, but got 'summ'; did you mean `sum`?",
        ),
        (
            "space: {fusion: sum}",
            3,
            "`space.fusion` must be a list of choices or a range {low, high}, but got 'sum'",
        ),
        ("space: {fusion: }", 3, "`space.fusion` must be a list of choices or a range {low, high}, but got null"),
        ("space: {optimizer.lr: {low: 1}}", 3, "`space.optimizer.lr.high` is missing"),
        ("space: {optimizer.lr: {low: a, high: 1}}", 3, "`space.optimizer.lr.low` must be a number, but got 'a'"),
        (
            "space: {optimizer.lr: {low: 1, high: .nan}}",
            3,
            "`space.optimizer.lr.high` must be a finite number, but got",
        ),
        (
            "space: {optimizer.lr: {low: 1, high: 2, step: 0}}",
            3,
            "`space.optimizer.lr.step` must be above 0, but got 0",
        ),
        (
            "space: {epochs: {low: 3, high: 1}}",
            3,
            "`space.epochs` must be a range with `low` below `high`, but got 3 and 1",
        ),
        ("space: {modulation.method: [none]}", 3, "`space.modulation.method` leaves nothing to compare with"),
        ("trial: {modulation: {method: none}}\nspace: {fusion: [sum]}", 4, "`space.modulation.method` leaves nothing"),
        (
            "space:\n  modulation.start: [60]\n  modulation.end: [50]",
            4,
            "`space.modulation.start` leaves no window that opens: no start is at most its end and below 100 epochs",
        ),
        (
            "trial: {epochs: 3}\nspace: {modulation.start: [3]}",
            4,
            "`space.modulation.start` leaves no window that opens",
        ),
        ("space: {epochs: [5, 2], modulation.start: [2]}", 3, "`space.modulation.start` leaves no window that opens"),
        (
            "trial: {accumulate: 2}\nspace:\n  batch_size: [64, 16]\n  accumulate: [1, 32]",
            6,
            "`space.accumulate` must be from 1 to `batch_size` (16), but got 32 beside `batch_size` 16",
        ),
        # start > end
        (
            "trial:\n  modulation:\n    start: 60\n    end: 50",
            6,
            "`trial.modulation.end` must be at least `start` (60), but got 50",
        ),
        ("trial:\n  modulation: {start: 60}", 4, "`trial.modulation.end` must be at least `start` (60), but got 50"),
        ("trial:\n  modulation: {end: -1}", 4, "`trial.modulation.end` must be at least `start` (0), but got -1"),
        # NaN and infinity
        *(
            (f"{text.replace('?', number)}", 3, f"`{path}` must be {expected}, but got {got}")
            for text, path, expected in [
                ("trial: {modulation: {alpha: ?}}", "trial.modulation.alpha", "a finite number of at least 0"),
                ("trial: {optimizer: {lr: ?}}", "trial.optimizer.lr", "a finite number above 0"),
                ("trial: {optimizer: {momentum: ?}}", "trial.optimizer.momentum", "at least 0 and below 1"),
                (
                    "trial: {optimizer: {weight_decay: ?}}",
                    "trial.optimizer.weight_decay",
                    "a finite number of at least 0",
                ),
                ("trial: {schedule: {gamma: ?}}", "trial.schedule.gamma", "above 0 and at most 1"),
                ("trial: {epochs: ?}", "trial.epochs", "a whole number"),
                ("search: {baseline_share: ?}", "search.baseline_share", "a finite number"),
                ("search: {resources: {cpu: ?}}", "search.resources.cpu", "a finite number or 'auto'"),
                ("search: {resources: {gpu: ?}}", "search.resources.gpu", "a finite number or 'auto'"),
            ]
            for number, got in [(".nan", "NaN"), (".inf", "Infinity"), ("1e999", "Infinity")]
        ),
        ("space: {optimizer.lr: [1, .nan]}", 3, "`space.optimizer.lr[1]` must be a finite number above 0, but got nan"),
        ("space: {modulation.alpha: {low: 0, high: .inf}}", 3, "`space.modulation.alpha.high` must be a finite number"),
        # what stands alone wrongly
        (
            "trial: {schedule: {name: step}}",
            3,
            "`trial.schedule.milestones` must be one epoch or more where the schedule",
        ),
        ("trial: {schedule: {name: step, milestones: 3}}", 3, "`trial.schedule.milestones` must be a list, but got 3"),
        ("trial: {accumulate: 65}", 3, "`trial.accumulate` must be from 1 to `batch_size` (64), but got 65"),
        (
            "trial: {encoder: resnet}",
            3,
            "`trial.encoder` must be resnet18, small_conv, mlp, torchvision:NAME or package",
        ),
        ("trial: {encoder: [mlp]}", 3, '`trial.encoder` must be a string or a mapping, but got ["mlp"]'),
        ("trial: {encoder: {a: 1}}", 3, "`trial.encoder.a` must be a string, but got 1"),
        ("trial: {weights: {a: [b]}}", 3, '`trial.weights.a` must be a string, but got ["b"]'),
        ("trial: {modulation: [1]}", 3, "`trial.modulation` must be a mapping, but got [1]"),
        ("trial:", 3, "`trial` must be a mapping, but got null"),
        ("space: [1]", 3, "`space` must be a mapping, but got [1]"),
        ("search: 3", 3, "`search` must be a mapping, but got 3"),
        ("search: {metric: 3}", 3, "`search.metric` must be a string or a list, but got 3"),
        (
            "search: {metric: [a, a]}",
            3,
            "`search.metric` is wrong: at least one metric, and each once, but got ['a', 'a']",
        ),
        ("search: {metric: []}", 3, "`search.metric` is wrong: at least one metric, and each once, but got []"),
        ("search: {mode: up}", 3, "`search.mode` must be 'max' or 'min' or a list, but got 'up'"),
        (
            "search: {metric: [a, b], mode: [max]}",
            3,
            "`search.mode` must be max, min, or a list with one of them for each of 2 metrics, but got ['max']",
        ),
        ("tracking: {uri: 3}", 3, "`tracking.uri` must be a string, but got 3"),
    ],
)
def test_a_mistake_is_told_with_its_path_its_line_and_what_was_expected(text, line, sentence):
    (found,) = mistakes_in(HEAD + text)
    assert found.endswith(f" (f.yaml, line {line})")
    assert sentence is None or found.startswith(sentence)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("trial: {epochs: '3'}", "a whole number, but got '3'"),
        ("trial: {epochs: 3.0}", "a whole number, but got 3.0"),
        ("trial: {epochs: 3.5}", "a whole number, but got 3.5"),
        ("trial: {epochs: 1e1}", "a whole number, but got 10.0"),
        ("trial: {epochs: true}", "a whole number, but got true"),
        ("trial: {epochs: null}", "a whole number, but got null"),
        ("trial: {optimizer: {lr: '1e-3'}}", "a number, but got '1e-3'"),
        ("trial: {optimizer: {lr: true}}", "a number, but got true"),
        ("trial: {fusion: 3}", "a string, but got 3"),
        ("trial: {fusion: true}", "a string, but got true"),
        ("trial: {schedule: {milestones: [true]}}", "a whole number, but got true"),
        ("search: {trials: '3'}", "a whole number, but got '3'"),
        ("search: {trials: false}", "a whole number, but got false"),
        ("search: {baseline_share: '0.5'}", "a number, but got '0.5'"),
        ("search: {resources: {cpu: true}}", "a number or 'auto', but got true"),
        ("space: {epochs: ['3']}", "whole number, but got '3'"),
        ("space: {epochs: [true]}", "whole number, but got True"),
        ("space: {epochs: {low: true, high: 3}}", "a number, but got true"),
        ("space: {epochs: {low: 1, high: 3, log: 1}}", "a boolean, but got 1"),
    ],
)
def test_a_value_of_another_type_is_not_made_to_fit(setting, expected):
    found = mistakes_in(HEAD + setting)
    assert len(found) == 1, found
    assert found[0].endswith(f"{expected} (f.yaml, line 3)")


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("../x", None),
        ("x/y", None),
        ("..", None),
        (".hidden", None),
        ("''", "''"),
        ("a b", None),
        ('"a\\n"', r"'a\n'"),
        ("a" * 200, None),
        ("größer", None),
    ],
)
def test_a_name_that_is_no_folder_name_is_refused(name, got):
    assert mistakes_in(f"name: {name}\ndataset: {{name: digits}}") == [
        f"`name` is wrong: {got or repr(name)} {NAME} (f.yaml, line 1)"
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("{}", ["`name` is missing (f.yaml)", "`dataset` is missing (f.yaml)"]),
        ("name: x", ["`dataset` is missing (f.yaml)"]),
        ("dataset: {name: digits}", ["`name` is missing (f.yaml)"]),
        ("name: x\ndataset: 3", ["`dataset` must be a mapping, but got 3 (f.yaml, line 2)"]),
        (
            "name: 3\ndataset:",
            [
                "`name` must be a string, but got 3 (f.yaml, line 1)",
                "`dataset` must be a mapping, but got null (f.yaml, line 2)",
            ],
        ),
    ],
)
def test_what_an_experiment_needs_is_named(text, sentences):
    assert mistakes_in(text) == sentences


@pytest.mark.parametrize(
    ("trial", "paths"),
    [
        ("{schedule: {name: step, milestones: [1, x, 2.5]}}", ["schedule.milestones[1]", "schedule.milestones[2]"]),
        ("{schedule: {name: step, milestones: x}}", ["schedule.milestones"]),
        ("{modulation: {start: 60, end: x}}", ["modulation.end"]),
        ("{modulation: {start: x, end: 3}}", ["modulation.start"]),
        ("{modulation: {alpha: -1, start: -1}, epochs: 0}", ["modulation.alpha", "modulation.start", "epochs"]),
        ("{optimizer: {lr: 0, momentum: 2, nam: sgd}}", ["optimizer.nam", "optimizer.lr", "optimizer.momentum"]),
        ("{encoder: {a: 1, b: [2], c: nope}}", ["encoder.a", "encoder.b", "encoder"]),
    ],
)
def test_a_mistake_hides_no_other_and_brings_no_other_with_it(trial, paths):
    found = mistakes_in(f"{HEAD}trial: {trial}")
    assert sorted(sentence.split("`")[1] for sentence in found) == sorted(f"trial.{path}" for path in paths)


def test_what_is_like_one_of_the_choices_is_answered_with_it():
    assert doctest.testmod(faults) == (0, 2)


def test_a_mistake_on_the_command_line_is_placed_there(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(HEAD + "trial: {epochs: 0}\n", encoding="utf-8")
    with pytest.raises(ExperimentError) as refused:
        load(path, ["trial.batch_size=0", "search.trials=x"])
    assert refused.value.sentences == (
        "`trial.batch_size` must be at least 1, but got 0 (command line)",
        "`search.trials` must be a whole number, but got 'x' (command line)",
        f"`trial.epochs` must be at least 1, but got 0 ({path}, line 3)",
    )


@pytest.mark.parametrize(
    ("content", "assignments", "sentences"),
    [
        (None, [], ["cannot be read: No such file or directory"]),
        (b"\xff\xfe", [], ["cannot be read: 'utf-8' codec"]),
        (b"a: [", [], ["line 1)"]),
        (b"a: 1\na: 2\nb: 1\nb: 2", [], ["`a` stands twice, in lines 1 and 2", "`b` stands twice, in lines 3 and 4"]),
        (HEAD.encode(), ["epochs"], ["expected key=value"]),
        (HEAD.encode(), ["trial={1: 2}"], ["`trial`: a key must be text, but got 1"]),
    ],
)
def test_a_document_that_cannot_be_read_is_an_experiment_that_cannot(tmp_path, content, assignments, sentences):
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExperimentError) as refused:
        load(path, assignments)
    assert refused.value.source == str(path)
    assert all(part in found for part, found in zip(sentences, refused.value.sentences, strict=True))
    assert str(refused.value) == "\n".join(refused.value.sentences)


# ---- anything at all ----

DEMO_VALUES = yaml.safe_load(DEMO.read_text(encoding="utf-8"))


def places(value: Any, path: Place = ()) -> list[Place]:
    items = value.items() if isinstance(value, dict) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


KEYS = places(DEMO_VALUES)[1:]
_known = sorted({place[-1] for place in KEYS})
_words = st.sampled_from([*_known, "ogm", "none", "step", "resnet18", "low", "step", f"{OWN}:Clips", f"{OWN}:Plain"])
_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats() | st.text(max_size=4) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def ends_well(values: dict[str, Any]) -> None:
    document = Document("f.yaml", values)
    before = copy.deepcopy(values)
    found = mistakes(document)
    assert all(sentence.startswith("`") and sentence.endswith("(f.yaml)") for sentence in found)
    assert len(set(found)) == len(found)
    assert repr(document.value) == repr(before)
    if not found:
        experiment = check(document)
        assert checked(to_yaml(resolved(experiment))) == experiment


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(_words | st.text(max_size=3), _junk, max_size=6))
def test_any_mapping_is_an_experiment_or_sentences(values):
    ends_well(values)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(KEYS), _words | st.none(), _junk), min_size=1, max_size=3))
def test_the_demo_with_any_parts_replaced_or_added_is_an_experiment_or_sentences(changes):
    values = copy.deepcopy(DEMO_VALUES)
    for place, extra, junk in changes:
        Document("", values).set((*place[:-1], extra or place[-1]), junk)
    ends_well(values)
