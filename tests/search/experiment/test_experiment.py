"""Experiment files: the meaning of valid ones, and all errors of invalid ones at once, with key, line and remedy."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import errno
import os
import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.publishers.digits import Digits
from datasets.registry import BUILT_IN
from ogmge.config import Schedule, TrialConfig
from search.experiment import messages
from search.experiment.load import check, load
from search.experiment.paths import experiment_yaml
from search.experiment.schema import Experiment, ExperimentError, as_values, to_yaml
from search.experiment.yaml_source import Document, Place, override, parse
from tests.support import ROOT
from tests.support.tells import tells

if TYPE_CHECKING:
    from fractions import Fraction

DEMO = ROOT / "experiments" / "demo.yaml"
KNOWN = (", ".join(BUILT_IN), "package.module:Class")
HEAD = "name: x\ndataset: {name: digits}\n"
PLACE = re.compile(r"[^\s(]+\.yaml(?:, line \d+)?|command line")


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


def keys_in(sentence: str) -> list[str]:
    """Return the keys that a sentence names; the first is the one at fault."""
    return re.findall("`([^`]*)`", sentence)


def tell(sentences: Sequence[str], *expected: tuple[Any, ...]) -> None:
    """Assert that exactly these errors are reported, in this order.

    Args:
        sentences: one sentence per error.
        expected: for each error its place (a line of f.yaml, or another place), its key, and further facts.
    """
    places = [f"f.yaml, line {place}" if isinstance(place, int) else place for place, *_ in expected]
    found = [(PLACE.findall(sentence), keys_in(sentence)[0]) for sentence in sentences]
    assert found == [([place], key) for place, (_, key, *_) in zip(places, expected, strict=True)], sentences
    for sentence, (_, key, *facts) in zip(sentences, expected, strict=True):
        tells(PLACE.sub("", sentence).replace(f"`{key}`", "", 1), *facts)


# ---- custom data sets ----


@dataclasses.dataclass(frozen=True)
class Clips:
    """Options with two kinds of errors: types, and a check of its own after them."""

    clips: int = 3
    root: Path = Path("data")
    rates: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError(f"`clips` must be at least 1, but got {self.clips}")

    def open(self) -> None: ...


class Plain:
    """Options that are known from the signature only."""

    def __init__(self, folder: str, seconds: float = 1.0, *more: int) -> None: ...
    def open(self) -> None: ...


class Anything:
    """Any options."""

    def __init__(self, **options: Any) -> None: ...
    def open(self) -> None: ...


class Nothing:
    """No options."""

    def open(self) -> None: ...


@dataclasses.dataclass
class Named:
    """An option called `name`, like the key of the data set's name."""

    name: str = "inner"
    hook: Callable[[int], Nothing] | None = None

    def open(self) -> None: ...


@dataclasses.dataclass
class Untyped:
    """A field whose type no file can hold."""

    source: Nothing | None = None
    clips: int = 3

    def open(self) -> None: ...


@dataclasses.dataclass
class Unknown:
    """A field whose type is imported for type checkers only."""

    source: Fraction | None = None
    clips: int = 3

    def open(self) -> None: ...


@dataclasses.dataclass
class Dated:
    """A field whose type only pydantic can describe."""

    day: datetime.date | None = None

    def open(self) -> None: ...


class Closed:
    """No method `open`."""


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
    ("options", "found"),
    [
        ("Clips, clip: 5", [("dataset.clip", "`dataset.clips`")]),
        ("Clips, clips: many", [("dataset.clips", "whole number", "'many'")]),
        ("Clips, clips: 0", [("dataset", "`clips` must be at least 1, but got 0")]),
        (
            "Clips, clip: 5, clips: many, rates: [1, x]",
            [
                ("dataset.clip", "`dataset.clips`"),
                ("dataset.clips", "whole number", "'many'"),
                ("dataset.rates[1]", "a number", "'x'"),
            ],
        ),
        ("Plain", [("dataset.folder", "missing")]),
        (
            "Plain, holder: here, seconds: 3, xyz: 1",
            [
                ("dataset.holder", "`dataset.folder`"),
                ("dataset.xyz", "folder, seconds"),
                ("dataset.folder", "missing"),
            ],
        ),
        ("Nothing, a: 1", [("dataset.a",)]),
        ("Untyped, clip: 5", [("dataset.clip", "`dataset.clips`")]),
        ("Unknown, clip: 5", [("dataset.clip", "`dataset.clips`")]),
        ("Dated, day: never", [("dataset.day", "date", "'never'")]),
    ],
)
def test_wrong_options_of_a_data_set_of_ones_own_are_named(options, found):
    tell(mistakes_in(own(options)), *((2, *mistake) for mistake in found))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("digit", [*KNOWN, "'digit'", "`digits`"]),
        ("imagenet", [*KNOWN, "'imagenet'"]),
        ("nowhere.at.all:Data", ["'nowhere'", "'nowhere.at.all:Data'"]),
        ("torch:Data", ["'Data'", "'torch:Data'"]),
        ("torch:load", ["function", "'torch:load'"]),
        ("torch:Tensor", ["`open()`", "'torch:Tensor'"]),
        ("json:dumps", ["standard library", "'json:dumps'"]),
        ("zipfile:ZipFile", ["standard library", "'zipfile:ZipFile'"]),
        (f"{OWN}:Closed", ["`open()`", f"'{OWN}:Closed'"]),
        ("3", [*KNOWN, 3]),
        ("[digits]", [*KNOWN, '["digits"]']),
        ("", [*KNOWN, "null"]),
    ],
)
def test_a_data_set_that_is_unknown_is_named(name, facts):
    tell(mistakes_in(f"name: x\ndataset:\n  seed: 1\n  name: {name}\n"), (4, "dataset.name", *facts))


@pytest.mark.parametrize("name", [":", "a b:c", "x:", "1:2", "..:x", "json:", "json:dumps.x", "a:b:c"])
def test_a_data_set_whose_name_is_odd_is_unknown_and_no_more(name):
    tell(mistakes_in(f"name: x\ndataset: {{name: {name!r}}}\n"), (2, "dataset.name", repr(name)))


def test_a_data_set_without_a_name_is_refused():
    tell(mistakes_in("name: x\ndataset:\n  seed: 1\n"), (2, "dataset.name", *KNOWN, "null"))


@pytest.mark.parametrize(
    ("options", "line", "key", "facts"),
    [
        ("snr: [1, 2]", 4, "dataset.snr", ["`dataset.snr_db`"]),
        ("snr_db: [1]", 4, "dataset.snr_db[1]", ["missing"]),
        ("snr_db: [1, 2, 3]", 4, "dataset.snr_db", ["a list", "at most 2", "[1, 2, 3]"]),
        ("snr_db: [a, 2]", 4, "dataset.snr_db[0]", ["a number", "'a'"]),
        ("snr_db: 3", 4, "dataset.snr_db", ["a list", 3]),
        ("snr_db: [2, 1]", 2, "dataset", ["`snr_db`", "[lowest, highest]", "[2.0, 1.0]"]),
        ("snr_db: [.nan, .inf]", 2, "dataset", ["`snr_db`", "finite", "[nan, inf]"]),
        ("tones_per_image: 2.5", 4, "dataset.tones_per_image", ["whole number", 2.5]),
        ("seed: '1'", 4, "dataset.seed", ["whole number", "'1'"]),
    ],
)
def test_wrong_options_of_a_built_in_data_set_are_named(options, line, key, facts):
    tell(mistakes_in(f"name: x\ndataset:\n  name: digits\n  {options}\n"), (line, key, *facts))


@pytest.mark.parametrize("text", ["name: x\ndataset: {name: imagenet}\n", own("Nothing, a: 1"), HEAD + "xyz: 1\n"])
def test_nothing_is_suggested_where_nothing_is_alike(text):
    (sentence,) = mistakes_in(text)
    assert len(keys_in(sentence)) == 1


# ---- valid files ----


def test_the_demo_means_what_its_comments_say():
    demo = load(DEMO)
    assert demo.name == "demo"
    assert demo.dataset == {**dataclasses.asdict(Digits()), "snr_db": [-18.0, -10.0]}
    assert demo.trial.optimizer.lr == 1e-2
    assert demo.trial.schedule.milestones == (9,)
    assert list(demo.space)[:2] == ["fusion", "optimizer.lr"]
    scheduler = demo.search.scheduler
    assert (scheduler.name, scheduler.grace_epochs, scheduler.reduction_factor) == ("asha", 6, 2)


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
def test_an_experiment_that_is_written_out_is_the_same_when_read_again(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.yaml").write_text(text, encoding="utf-8")
    first = load(tmp_path / "first.yaml")
    path = tmp_path / "experiment.yaml"
    path.write_text(experiment_yaml(as_values(first), path), encoding="utf-8")
    again = load(path)
    assert again == first
    assert experiment_yaml(as_values(again), path) == path.read_text(encoding="utf-8")


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True))
def test_any_name_is_the_same_when_read_again(name):
    assert checked(to_yaml({**as_values(checked(HEAD)), "name": name})).name == name


def test_every_default_is_written_out():
    values = yaml.safe_load(to_yaml(as_values(checked(HEAD))))
    assert list(values) == ["name", "dataset", "trial", "space", "search", "confirm", "tracking", "modules", "origin"]
    assert set(values["trial"]) == {f.name for f in dataclasses.fields(TrialConfig)}
    assert values["trial"]["modulation"]["alpha"] == 0.1
    assert values["dataset"]["tones_per_image"] == 2
    assert values["search"]["scheduler"]["reduction_factor"] == 3


# ---- invalid files ----

FUSIONS = ("concat, sum, film, gated", "package.module:factory")
SAMPLERS = ("tpe, random, grid, qmc, gp, cmaes or nsga2",)
SECTIONS = "name, dataset, trial, space, search, confirm, tracking, modules, origin"

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
    tell(
        mistakes_in(DOZEN),
        (1, "name", "'../x'", 100),
        (4, "dataset.snr", "`dataset.snr_db`"),
        (6, "trial.epochs", "whole number", "'twelve'"),
        (7, "trial.batch_size", "at least 1", 0),
        (8, "trial.fusion", *FUSIONS, "'conact'", "`concat`"),
        (9, "trial.optimzer", "`trial.optimizer`"),
        (11, "trial.modulation.alpha", "finite", "at least 0", ".nan"),
        (13, "trial.modulation.end", "`start`", 60, 50),
        (15, "trial.optimizer.momentum", "at least 0", "below 1", 1),
        (16, "trial.optimizer.lr", "finite", "above 0", ".inf"),
        (17, "trial.schedule.name", "step, cosine or constant", "'steps'", "`step`"),
        (17, "trial.schedule.milestones[1]", "whole number", "'x'"),
        (19, "space.fusion", "empty"),
        (20, "space.optimizer.lrr", "`trial`", "`space.optimizer.lr`"),
        (21, "space.optimizer.lr", "`low` below `high`", 1, 0.001),
        (22, "space.modulation.alpha", "{low, high}", 3),
        (24, "search.trials", "at least 2", 1),
        (25, "search.sampler", *SAMPLERS, "'tpee'", "`tpe`"),
        (26, "search.scheduler.grace_epoch", "`search.scheduler.grace_epochs`"),
        (27, "search.resources.cpu", "a number", "auto", "true"),
        (27, "search.resources.gpu", "at least 0", "auto", -1),
        (28, "trakcing", "`tracking`"),
    )


@pytest.mark.parametrize(
    ("text", "line", "key", "facts"),
    [
        # unknown keys
        ("trail: {}", 3, "trail", ["`trial`"]),
        ("xyz: 1", 3, "xyz", [SECTIONS]),
        ("'': 1", 3, "", [SECTIONS]),
        ("trial:\n  modulation:\n    alhpa: 1", 5, "trial.modulation.alhpa", ["`trial.modulation.alpha`"]),
        ("trial: {optimizer.lr: 1}", 3, "trial.optimizer.lr", ["nest it", "`optimizer: {lr: …}`"]),
        ("trial: {__pydantic_config__: 1}", 3, "trial.__pydantic_config__", ["epochs, batch_size"]),
        (
            "search:\n  scheduler:\n    name: asha\n    reduction_facto: 2",
            6,
            "search.scheduler.reduction_facto",
            ["`search.scheduler.reduction_factor`"],
        ),
        (
            "space:\n  optimizer.lr:\n    low: 1\n    high: 2\n    stepp: 1",
            7,
            "space.optimizer.lr.stepp",
            ["`space.optimizer.lr.step`"],
        ),
        # paths of the space
        ("space: {optimizer.rl: [1]}", 3, "space.optimizer.rl", ["`trial`", "`space.optimizer.lr`"]),
        ("space:\n  fusion: [sum]\n  epoch: [1]", 5, "space.epoch", ["`trial`", "`space.epochs`"]),
        ("space: {optimizer: [1]}", 3, "space.optimizer", ["`trial`", "`space.optimizer.lr`"]),
        ("space: {'': [1]}", 3, "space.", ["`trial`", "epochs, batch_size"]),
        ("space: {fusion.x: [1]}", 3, "space.fusion.x", ["`trial`", "`space.fusion`"]),
        ("trial: {encoder: {a.b: mlp}}\nspace: {encoder.a.b: [mlp]}", 4, "space.encoder.a.b", ["`trial`", "weights"]),
        # the entries of the space
        ("space: {fusion: []}", 3, "space.fusion", ["empty"]),
        ("space: {fusion: [sum, summ]}", 3, "space.fusion[1]", [*FUSIONS, "'summ'", "`sum`"]),
        ("space: {fusion: sum}", 3, "space.fusion", ["{low, high}", "'sum'"]),
        ("space: {fusion: }", 3, "space.fusion", ["{low, high}", "null"]),
        ("space: {optimizer.lr: {low: 1}}", 3, "space.optimizer.lr.high", ["missing"]),
        ("space: {optimizer.lr: {low: a, high: 1}}", 3, "space.optimizer.lr.low", ["a number", "'a'"]),
        ("space: {optimizer.lr: {low: 1, high: .nan}}", 3, "space.optimizer.lr.high", ["finite", ".nan"]),
        ("space: {optimizer.lr: {low: 1, high: 2, step: 0}}", 3, "space.optimizer.lr.step", ["above 0"]),
        ("space: {epochs: {low: 3, high: 1}}", 3, "space.epochs", ["`low` below `high`", 3, 1]),
        ("space: {modulation.method: [none]}", 3, "space.modulation.method", ["`ogm`", "`ogm_ge`"]),
        (
            "trial: {modulation: {method: none}}\nspace: {fusion: [sum]}",
            4,
            "space.modulation.method",
            ["`ogm`", "`ogm_ge`"],
        ),
        (
            "space:\n  modulation.start: [60]\n  modulation.end: [50]",
            4,
            "space.modulation.start",
            ["window", "100 epochs"],
        ),
        (
            "trial: {epochs: 3}\nspace: {modulation.start: [3]}",
            4,
            "space.modulation.start",
            ["window", "3 epochs"],
        ),
        ("space: {epochs: [5, 2], modulation.start: [2]}", 3, "space.modulation.start", ["window", "below 2 epochs"]),
        ("space: {epochs: [5, 1], modulation.start: [1]}", 3, "space.modulation.start", ["window", "below 1 epoch"]),
        (
            "trial: {accumulate: 2}\nspace:\n  batch_size: [64, 16]\n  accumulate: [1, 32]",
            6,
            "space.accumulate",
            [1, "`batch_size`", 16, 32],
        ),
        # start > end
        ("trial:\n  modulation:\n    start: 60\n    end: 50", 6, "trial.modulation.end", ["`start`", 60, 50]),
        ("trial:\n  modulation: {start: 60}", 4, "trial.modulation.end", ["`start`", 60, 50]),
        ("trial:\n  modulation: {end: -1}", 4, "trial.modulation.end", ["`start`", 0, -1]),
        # values are told as they are written
        ("trial: {modulation: {alpha: -1}}", 3, "trial.modulation.alpha", ["at least 0", "got -1"]),
        ("trial: {modulation: {alpha: -1.0}}", 3, "trial.modulation.alpha", ["at least 0", "got -1.0"]),
        ("trial: {encoder: {a: {b: null}}}", 3, "trial.encoder.a", ["text", '{"b": null}']),
        ("space: {fusion: [sum, {a: true}]}", 3, "space.fusion[1]", ["text", '{"a": true}']),
        ("space: {fusion: [sum, null]}", 3, "space.fusion[1]", ["text", "null"]),
        # NaN and infinity
        *(
            (text.replace("?", number), 3, path, [*expected, got])
            for text, path, expected in [
                ("trial: {modulation: {alpha: ?}}", "trial.modulation.alpha", ("finite", "at least 0")),
                ("trial: {optimizer: {lr: ?}}", "trial.optimizer.lr", ("finite", "above 0")),
                ("trial: {optimizer: {momentum: ?}}", "trial.optimizer.momentum", ("at least 0", "below 1")),
                ("trial: {optimizer: {weight_decay: ?}}", "trial.optimizer.weight_decay", ("finite", "at least 0")),
                ("trial: {schedule: {gamma: ?}}", "trial.schedule.gamma", ("above 0", "at most 1")),
                ("trial: {epochs: ?}", "trial.epochs", ("whole number",)),
                ("search: {baseline_share: ?}", "search.baseline_share", ("finite",)),
                ("search: {resources: {cpu: ?}}", "search.resources.cpu", ("finite", "auto")),
                ("search: {resources: {gpu: ?}}", "search.resources.gpu", ("finite", "auto")),
            ]
            for number, got in [(".nan", ".nan"), (".inf", ".inf"), ("1e999", ".inf")]
        ),
        ("space: {optimizer.lr: [1, .nan]}", 3, "space.optimizer.lr[1]", ["finite", "above 0", ".nan"]),
        ("space: {modulation.alpha: {low: 0, high: .inf}}", 3, "space.modulation.alpha.high", ["finite", ".inf"]),
        # single values
        ("trial: {schedule: {name: step}}", 3, "trial.schedule.milestones", ["`step`", "[]"]),
        ("trial: {schedule: {name: step, milestones: 3}}", 3, "trial.schedule.milestones", ["a list", 3]),
        ("trial: {accumulate: 65}", 3, "trial.accumulate", [1, "`batch_size`", 64, 65]),
        (
            "trial: {encoder: resnet}",
            3,
            "trial.encoder",
            ["resnet18, small_conv, mlp", "torchvision:NAME", "package.module:factory", "'resnet'", "`resnet18`"],
        ),
        ("trial: {encoder: [mlp]}", 3, "trial.encoder", ["text", "mapping", '["mlp"]']),
        ("trial: {encoder: {a: 1}}", 3, "trial.encoder.a", ["text", 1]),
        ("trial: {weights: {a: [b]}}", 3, "trial.weights.a", ["text", '["b"]']),
        ("trial: {modulation: [1]}", 3, "trial.modulation", ["mapping", "[1]"]),
        ("trial:", 3, "trial", ["mapping", "null"]),
        ("space: [1]", 3, "space", ["mapping", "[1]"]),
        ("search: 3", 3, "search", ["mapping", 3]),
        ("search: {metric: 3}", 3, "search.metric", ["text", "list", 3]),
        ("search: {metric: [a, a]}", 3, "search.metric", ['["a", "a"]']),
        ("search: {metric: []}", 3, "search.metric", ["[]"]),
        ("search: {mode: up}", 3, "search.mode", ["max or min", "list", "'up'"]),
        ("search: {metric: [a, b], mode: [max]}", 3, "search.mode", ["max", "min", "2 metrics", '["max"]']),
        ("tracking: {uri: 3}", 3, "tracking.uri", ["text", 3]),
        # what depends on invalid epochs
        *(
            (f"space: {{epochs: {epochs}}}\nsearch: {{budget: {{epochs: 9}}}}\nconfirm: {{seeds: 6}}", 3, key, facts)
            for epochs, key, facts in [("[]", "space.epochs", ["empty"]), ("[x]", "space.epochs[0]", ["'x'"])]
        ),
    ],
)
def test_a_mistake_is_told_with_its_path_its_line_and_what_was_expected(text, line, key, facts):
    tell(mistakes_in(HEAD + text), (line, key, *facts))


@pytest.mark.parametrize(
    ("setting", "key", "expected", "got"),
    [
        ("trial: {epochs: '3'}", "trial.epochs", "whole number", "'3'"),
        ("trial: {epochs: 3.0}", "trial.epochs", "whole number", "3.0"),
        ("trial: {epochs: 3.5}", "trial.epochs", "whole number", "3.5"),
        ("trial: {epochs: 1e1}", "trial.epochs", "whole number", "10.0"),
        ("trial: {epochs: true}", "trial.epochs", "whole number", "true"),
        ("trial: {epochs: null}", "trial.epochs", "whole number", "null"),
        ("trial: {optimizer: {lr: '1e-3'}}", "trial.optimizer.lr", "a number", "'1e-3'"),
        ("trial: {optimizer: {lr: true}}", "trial.optimizer.lr", "a number", "true"),
        ("trial: {fusion: 3}", "trial.fusion", "text", 3),
        ("trial: {fusion: true}", "trial.fusion", "text", "true"),
        ("trial: {schedule: {milestones: [true]}}", "trial.schedule.milestones[0]", "whole number", "true"),
        ("search: {trials: '3'}", "search.trials", "whole number", "'3'"),
        ("search: {trials: false}", "search.trials", "whole number", "false"),
        ("search: {baseline_share: '0.5'}", "search.baseline_share", "a number", "'0.5'"),
        ("search: {resources: {cpu: true}}", "search.resources.cpu", "auto", "true"),
        ("space: {epochs: ['3']}", "space.epochs[0]", "whole number", "'3'"),
        ("space: {epochs: [true]}", "space.epochs[0]", "whole number", "true"),
        ("space: {epochs: {low: true, high: 3}}", "space.epochs.low", "a number", "true"),
        ("space: {epochs: {low: 1, high: 3, log: 1}}", "space.epochs.log", "true or false", 1),
    ],
)
def test_a_value_of_another_type_is_not_converted(setting, key, expected, got):
    tell(mistakes_in(HEAD + setting), (3, key, expected, got))


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
        ("a" * 200, "'" + "a" * 56 + "…"),
        ("größer", None),
    ],
)
def test_a_name_that_is_no_folder_name_is_refused(name, got):
    tell(mistakes_in(f"name: {name}\ndataset: {{name: digits}}"), (1, "name", got or repr(name), 100))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", [("f.yaml", "name", "missing"), ("f.yaml", "dataset", "missing")]),
        ("name: x", [("f.yaml", "dataset", "missing")]),
        ("dataset: {name: digits}", [("f.yaml", "name", "missing")]),
        ("name: x\ndataset: 3", [(2, "dataset", "mapping", 3)]),
        ("name: 3\ndataset:", [(1, "name", "text", 3), (2, "dataset", "mapping", "null")]),
    ],
)
def test_what_an_experiment_needs_is_named(text, found):
    tell(mistakes_in(text), *found)


@pytest.mark.parametrize(
    ("trial", "paths"),
    [
        ("{schedule: {name: step, milestones: [1, x, 2.5]}}", ["schedule.milestones[1]", "schedule.milestones[2]"]),
        ("{schedule: {name: step, milestones: x}}", ["schedule.milestones"]),
        ("{modulation: {start: 60, end: x}}", ["modulation.end"]),
        ("{modulation: {start: x, end: 3}}", ["modulation.start"]),
        ("{modulation: {alpha: -1, start: -1}, epochs: 0}", ["modulation.alpha", "modulation.start", "epochs"]),
        ("{optimizer: {lr: 0, momentum: 2, nam: sgd}}", ["optimizer.nam", "optimizer.lr", "optimizer.momentum"]),
        ("{encoder: {a: 1, b: [2], c: nope}}", ["encoder.a", "encoder.b", "encoder.c"]),
    ],
)
def test_a_mistake_hides_no_other_and_brings_no_other_with_it(trial, paths):
    found = mistakes_in(f"{HEAD}trial: {trial}")
    assert sorted(keys_in(sentence)[0] for sentence in found) == sorted(f"trial.{path}" for path in paths)


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("trails", ["trials", "trial"], "trials"),
        ("concatt", ["concat", "sum", "film", "gated"], "concat"),
        ("dmo", ["demo", "vggsound"], "demo"),
        ("palin", ["plain", "demo-best"], "plain"),
        ("snr_bd", ["snr_db", "seed"], "snr_db"),
        ("epocs", ["epochs", "batch_size"], "epochs"),
        ("bayes", ["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"], None),
        ("tep", ["tpe", "random"], "tpe"),
    ],
)
def test_only_what_is_similar_is_suggested(name, known, meant):
    assert messages.hint(name, known) == (f"; did you mean `{meant}`?" if meant else "")


def test_a_list_of_mistakes_names_the_file_once_and_the_line_of_each():
    text = HEAD + "trial:\n  epocs: 3\nspace: {fusion: []}\n"
    document = parse(text, "f.yaml")
    override(document, ["search.trials=x"])
    with pytest.raises(ExperimentError) as refused:
        check(document)
    heading, items = refused.value.listing
    assert heading == "3 errors in f.yaml:"
    assert [item.partition(":")[0] for item in items] == ["command line", "line 4", "line 5"]
    for item, sentence in zip(items, refused.value.sentences, strict=True):
        place, _, rest = item.partition(": ")
        assert sentence == (f"{rest} (f.yaml, {place})" if place != "command line" else f"{rest} ({place})")


def test_a_single_mistake_names_the_file_and_the_line():
    with pytest.raises(ExperimentError) as refused:
        checked(HEAD + "trail: 1\n")
    _, [item] = refused.value.listing
    assert item.endswith(" (f.yaml, line 3)")


def test_mistakes_that_no_file_contains_name_no_file():
    heading, items = ExperimentError("demo", ["no GPU", "no disk (full)"]).listing
    assert (heading, items) == ("2 errors:", ("no GPU", "no disk (full)"))


def test_a_mistake_on_the_command_line_is_placed_there(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(HEAD + "trial: {epochs: 0}\n", encoding="utf-8")
    with pytest.raises(ExperimentError) as refused:
        load(path, ["trial.batch_size=0", "search.trials=x"])
    tell(
        refused.value.sentences,
        ("command line", "trial.batch_size", "at least 1", 0),
        ("command line", "search.trials", "whole number", "'x'"),
        (f"{path}, line 3", "trial.epochs", "at least 1", 0),
    )


@pytest.mark.parametrize(
    ("content", "assignments", "found"),
    [
        (None, [], [(os.strerror(errno.ENOENT), "x.yaml")]),
        (b"\xff\xfe", [], [("UTF-8", "UTF-16", "x.yaml")]),
        (b"a: \xff", [], [("UTF-8", "0xff", "x.yaml")]),
        (b"a: [", [], [("x.yaml, line 1",)]),
        (b"a: 1\na: 2\nb: 1\nb: 2", [], [("`a`", 1, 2, "x.yaml"), ("`b`", 3, 4, "x.yaml")]),
        (HEAD.encode(), ["epochs"], [("key=value", "'epochs'", "command line")]),
        (HEAD.encode(), ["trial={1: 2}"], [("`trial`", "text", 1, "command line")]),
    ],
)
def test_a_document_that_cannot_be_read_is_an_experiment_that_cannot(tmp_path, content, assignments, found):
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExperimentError) as refused:
        load(path, assignments)
    assert refused.value.source == str(path)
    for sentence, facts in zip(refused.value.sentences, found, strict=True):
        tells(sentence, *facts)
    assert str(refused.value) == "\n".join(refused.value.sentences)


@pytest.mark.parametrize("beside", [None, "run.json", "tune"])
def test_a_corrupt_copy_in_the_folder_of_a_run_is_called_corrupt(tmp_path, beside):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: [", encoding="utf-8")
    if beside is not None:
        (tmp_path / beside).touch()
    with pytest.raises(ExperimentError) as refused:
        load(path)
    [sentence] = refused.value.sentences
    tells(sentence, f"{path}, line 1")
    assert ("is corrupt" in sentence) == ("--resume" in sentence) == (beside is not None)


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
    assert all(keys_in(sentence) and PLACE.findall(sentence) == ["f.yaml"] for sentence in found)
    assert len(set(found)) == len(found)
    assert repr(document.value) == repr(before)
    if not found:
        experiment = check(document)
        assert checked(to_yaml(as_values(experiment))) == experiment


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(_words | st.text(max_size=3), _junk, max_size=6))
def test_any_mapping_is_an_experiment_or_sentences(values):
    ends_well(values)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(KEYS), _words | st.none(), _junk), min_size=1, max_size=3))
def test_the_demo_with_any_parts_replaced_or_added_is_an_experiment_or_sentences(changes):
    values = copy.deepcopy(DEMO_VALUES)
    for place, extra, junk in changes:
        Document("", values).set((*place[:-1], extra or place[-1]), junk)
    ends_well(values)


@pytest.mark.parametrize(
    ("assignment", "key", "facts"),
    [
        ("tracking.uri=https://me:hunter2@mlflow.example", "tracking.uri", ["MLFLOW_TRACKING_PASSWORD"]),
        ("tracking.uri=postgresql://me:hunter2@db/mlflow", "tracking.uri", ["~/.pgpass"]),
        ("search.storage=s3://me:hunter2@bucket/runs", "search.storage", ["AWS_SECRET_ACCESS_KEY"]),
        ("search.storage=s3://bucket/runs?secret_key=hunter2", "search.storage", ["AWS_SECRET_ACCESS_KEY"]),
        ("dataset.store=s3://me:hunter2@bucket/store", "dataset.store", ["AWS_SECRET_ACCESS_KEY"]),
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_repeated(tmp_path, assignment, key, facts):
    path = tmp_path / "x.yaml"
    source = "~/data/VGGSound"
    path.write_text(f"name: x\ndataset: {{name: vggsound, source: {source}, store: stores/x}}\n", encoding="utf-8")
    with pytest.raises(ExperimentError) as refused:
        load(path, [assignment])
    tells(refused.value, f"`{key}`", *facts)
    assert "hunter2" not in str(refused.value)
