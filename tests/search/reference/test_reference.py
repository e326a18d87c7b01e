"""docs/keys.md and the JSON schema: generated from the code, complete, and consistent with the check of files."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from datasets.registry import BUILT_IN, find
from search.experiment.formatting import flat
from search.experiment.load import check, load
from search.experiment.schema import Experiment, ExperimentError, Provenance, as_values, to_yaml
from search.experiment.space import paths
from search.experiment.yaml_source import Document, Place, parse
from search.reference.docstrings import arguments, summary
from search.reference.files import DOCS, generate
from search.reference.json_schema import experiment_schema
from search.reference.keys import Key, sections
from tests.support import ROOT
from tests.support.tells import tells

SHIPPED = sorted((ROOT / "experiments").glob("*.yaml"))
SCHEMA = experiment_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
KEYS = [key for section in sections(SCHEMA) for key in section.keys]
HEAD = "name: x\ndataset: {name: digits}\n"


def refused(values: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(values)]


@pytest.mark.parametrize("path", generate(), ids=lambda path: path.name)
def test_what_is_made_of_the_schema_is_fresh(path):
    fresh = path.read_text(encoding="utf-8") == generate()[path]
    assert fresh, f"docs/{path.name} is not what the code says by now: uv run python -m search.reference"


# ---- the page ----


def test_each_key_has_a_meaning_and_says_what_it_takes():
    lacking = [key.path for key in KEYS if not (re.fullmatch(r"[A-Z`].{8,}\.", key.meaning) and key.takes)]
    assert lacking == []


def test_no_key_is_left_out():
    told = {key.path for key in KEYS}
    experiment = load(SHIPPED[0], ["confirm={seeds: 10}"])
    values = {k: v for k, v in as_values(experiment).items() if k not in ("space", "origin")}
    options = {f"dataset.{field.name}" for name in BUILT_IN for field in dataclasses.fields(find(name))}
    origin = {f"origin.{key}" for key in Provenance.model_fields}
    assert set(flat(values)) | options | origin <= told
    assert told - set(flat(values)) - options - origin == {
        f"space.PATH.{key}" for key in ("low", "high", "step", "log")
    }


def test_each_section_has_a_meaning():
    assert [s.title for s in sections(SCHEMA) if not s.meaning.endswith(".")] in ([], ["`space`"])


def key_of(path: str) -> Key:
    return next(key for key in KEYS if key.path == path)


@pytest.mark.parametrize(
    ("path", "facts", "default"),
    [
        ("name", ["text"], None),
        ("dataset.name", [*(f"`{name}`" for name in BUILT_IN), "`package.module:Class`"], None),
        ("dataset.snr_db", ["list", 2, "numbers"], "[-18.0, -10.0]"),
        ("trial.epochs", ["whole number", 1], "100"),
        ("trial.encoder", ["`resnet18`", "`small_conv`", "`mlp`", "`package.module:factory`", "mapping"], "resnet18"),
        ("trial.weights", ["text", "null", "mapping"], "null"),
        ("trial.fusion", ["`concat`", "`sum`", "`film`", "`gated`", "`package.module:factory`"], "concat"),
        ("trial.optimizer.momentum", ["number", 0, 1], "0.9"),
        ("trial.schedule.gamma", ["number", 0, 1], "0.1"),
        ("trial.deterministic", ["true", "false"], "false"),
        ("search.mode", ["`max`", "`min`", "list"], "max"),
        ("search.scheduler.brackets", ["whole number", 1, 10], "1"),
        ("search.resources.cpu", ["number", 0, "`auto`"], "1.0"),
        ("search.budget.hours", ["number", 0, "null"], "null"),
        ("origin.versions", ["mapping", "text"], None),
    ],
)
def test_a_key_says_what_it_takes_and_its_default(path, facts, default):
    """Only facts are tested here; docs/keys.md shows the wording."""
    tells(key_of(path).takes, *facts)
    assert key_of(path).default == default


def test_the_page_reads_raw():
    lines = (DOCS / "keys.md").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120
    assert not [line for line in lines if re.match(r"\s+[-+*#] |- (?!`)", line)], "a sentence would become a list"


class Documented:
    """One thing
    in two lines.

    And another.

    Args:
        one: first thing, of which
            there is more: much.
        two, three: `both`.

    Raises:
        ValueError: never.
    """


def test_a_docstring_is_read_by_its_sections():
    assert summary(Documented) == "One thing in two lines.\n\nAnd another."
    said = {"one": "First thing, of which there is more: much.", "two": "`both`.", "three": "`both`."}
    assert arguments(Documented) == said


class Bare: ...


def test_what_says_nothing_has_no_meaning():
    Bare.__doc__ = None
    assert (summary(Bare), arguments(Bare)) == ("", {})


class Heir(Documented):
    """Another thing.

    Args:
        own: what it adds.
        one: what it means here.
    """


def test_what_a_class_inherits_comes_after_its_own_and_is_said_by_the_nearest():
    inherited = arguments(Documented)
    assert "one" in inherited
    assert list(arguments(Heir).items()) == [
        ("own", "What it adds."),
        ("one", "What it means here."),
        *((key, said) for key, said in inherited.items() if key != "one"),
    ]


# ---- the schema ----


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_path_of_a_trial_can_be_searched_and_no_other():
    trial = load(SHIPPED[0]).trial
    assert list(SCHEMA["properties"]["space"]["properties"]) == paths(trial)


def examples() -> Iterator[Any]:
    for path in SHIPPED:
        yield pytest.param(parse(path.read_text(encoding="utf-8"), path.name).value, id=path.name)
        yield pytest.param(as_values(load(path)), id=f"{path.name} with every default")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for index, block in enumerate(re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL)):
        yield pytest.param({"name": "x", **parse(block, "README.md").value}, id=f"README.md {index}")


@pytest.mark.parametrize("values", list(examples()))
def test_it_takes_what_is_shipped(values):
    assert refused(values) == []


ORIGIN = Provenance(
    run="demo",
    trial=3,
    arm="modulated",
    metric="val/accuracy",
    value=0.5,
    seeds=6,
    prediction=(0.4, 0.6),
    epochs=7,
    verdict="helps",
    fingerprint="unknown",
    versions={"python": "3.11"},
)


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD + "confirm: null\nsearch: {budget: null}\n",
        HEAD + "search: {metric: [val/accuracy, val/loss], mode: [max, min], resources: {cpu: auto, gpu: 0.25}}\n",
        HEAD + "trial: {encoder: {audio: mlp, visual: 'torchvision:vit_b_16'}, weights: {audio: null}}\n",
        HEAD
        + "space: {weights: [null, DEFAULT, {a: null}], schedule.milestones: [[], [1, 2]], fusion: [sum, 'a:b']}\n",
        HEAD + "trial: {encoder: {audio: mlp, visual: mlp}}\nspace: {encoder.audio: [mlp, small_conv]}\n",
        HEAD + "space: {optimizer.lr: {low: 1e-5, high: 1, log: true}, epochs: {low: 1, high: 9, step: 2}}\n",
        f"name: x\ndataset: {{name: {__name__}:Documented, whatever: [it, {{is: 1}}]}}\n",
    ],
)
def test_it_takes_what_an_experiment_may_be(text):
    assert refused(parse(text, "f.yaml").value) == []


def test_it_takes_an_export():
    experiment = load(SHIPPED[0]).model_copy(update={"origin": ORIGIN})
    assert refused(yaml.safe_load(to_yaml(as_values(experiment)))) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("dataset: {name: digits}", "$"),
        ("name: x", "$"),
        ("name: ../x\ndataset: {name: digits}", "$.name"),
        ("name: 3\ndataset: {name: digits}", "$.name"),
        ("name: x\ndataset: {name: digit}", "$.dataset"),
        ("name: x\ndataset: {seed: 1}", "$.dataset"),
        ("name: x\ndataset: {name: digits, snr: [1, 2]}", "$.dataset"),
        ("name: x\ndataset: {name: digits, snr_db: [1, 2, 3]}", "$.dataset"),
        ("name: x\ndataset: {name: ave, source: here}", "$.dataset"),
        ("name: x\ndataset: {name: ave, source: a, store: b, frames: 0}", "$.dataset"),
        ("name: x\ndataset: {name: ave, source: a, store: b, part: film}", "$.dataset"),
        ("name: x\ndataset: {name: table, source: a, store: b, video: c, hop: 0}", "$.dataset"),
        ("name: x\ndataset: {name: ucf101, source: a, store: b, split: 4}", "$.dataset"),
        (HEAD + "trail: {}", "$"),
        (HEAD + "trial: {optimzer: {lr: 1}}", "$.trial"),
        (HEAD + "trial: {epochs: twelve}", "$.trial.epochs"),
        (HEAD + "trial: {epochs: 2.5}", "$.trial.epochs"),
        (HEAD + "trial: {epochs: 0}", "$.trial.epochs"),
        (HEAD + "trial: {seed: '1'}", "$.trial.seed"),
        (HEAD + "trial: {fusion: conact}", "$.trial.fusion"),
        (HEAD + "trial: {encoder: {audio: resnet}}", "$.trial.encoder"),
        (HEAD + "trial: {encoder: {audio: {width: 3}}}", "$.trial.encoder"),
        (HEAD + "trial: {encoder: {name: mlp, width: 3}}", "$.trial.encoder"),
        (HEAD + "trial: {fusion: {hidden: 3}}", "$.trial.fusion"),
        (HEAD + "trial: {fusion: {name: sum, hidden: 3}}", "$.trial.fusion"),
        (HEAD + "trial: {precision: half}", "$.trial.precision"),
        (HEAD + "trial: {deterministic: 1}", "$.trial.deterministic"),
        (HEAD + "trial: {modulation: {method: ogmge}}", "$.trial.modulation.method"),
        (HEAD + "trial: {modulation: {alpha: -1}}", "$.trial.modulation.alpha"),
        (HEAD + "trial: {optimizer: {momentum: 1}}", "$.trial.optimizer.momentum"),
        (HEAD + "trial: {optimizer: {lr: 0}}", "$.trial.optimizer.lr"),
        (HEAD + "trial: {schedule: {gamma: 1.5}}", "$.trial.schedule.gamma"),
        (HEAD + "space: {optimizer.lrr: [1]}", "$.space"),
        (HEAD + "space: {optimizer: [1]}", "$.space"),
        (HEAD + "space: {fusion: []}", "$.space.fusion"),
        (HEAD + "space: {fusion: [summ]}", "$.space.fusion"),
        (HEAD + "space: {fusion: {low: 1, high: 2}}", "$.space.fusion"),
        (HEAD + "space: {epochs: 3}", "$.space.epochs"),
        (HEAD + "space: {epochs: {low: 0, high: 3}}", "$.space.epochs"),
        (HEAD + "space: {epochs: {low: 1, high: 3.5}}", "$.space.epochs"),
        (HEAD + "space: {modulation.alpha: {low: 1}}", "$.space['modulation.alpha']"),
        (HEAD + "space: {modulation.alpha: {low: 1, high: 2, step: 0}}", "$.space['modulation.alpha']"),
        (HEAD + "space: {modulation.alpha: {low: 1, high: 2, stepp: 1}}", "$.space['modulation.alpha']"),
        (HEAD + "search: {trials: 1}", "$.search.trials"),
        (HEAD + "search: {sampler: tpee}", "$.search.sampler"),
        (HEAD + "search: {mode: most}", "$.search.mode"),
        (HEAD + "search: {scheduler: {grace_epoch: 3}}", "$.search.scheduler"),
        (HEAD + "search: {scheduler: {brackets: 11}}", "$.search.scheduler.brackets"),
        (HEAD + "search: {resources: {gpu: -1}}", "$.search.resources.gpu"),
        (HEAD + "search: {budget: {hours: 0}}", "$.search.budget"),
        (HEAD + "confirm: {seeds: 1}", "$.confirm"),
        (HEAD + "tracking: {checkpoints: all}", "$.tracking.checkpoints"),
        (HEAD + "origin: {run: x}", "$.origin"),
    ],
)
def test_it_refuses_what_the_check_refuses(text, place):
    document = parse(text, "f.yaml")
    assert [error.json_path for error in VALIDATOR.iter_errors(document.value)] == [place]
    assert not taken(document)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_names_the_schema_for_editors(path):
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    assert (path.parent / named[1]).resolve() == DOCS / "experiment.schema.json"
    assert json.loads((path.parent / named[1]).read_text(encoding="utf-8")) == SCHEMA


def test_the_experiment_is_told_in_the_order_of_its_sections():
    assert list(SCHEMA["properties"]) == list(Experiment.model_fields)


def places(value: Any, path: Place = ()) -> list[Place]:
    items = value.items() if isinstance(value, dict) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


DEMO = as_values(load(ROOT / "experiments" / "demo.yaml", ["confirm={seeds: 6}", "search.scheduler.name=none"]))
PLACES = [place for place in places(DEMO) if place and place[0] != "origin"]
VALUES = [-1, 0, 1, 0.0, 1e-9, 0.5, 1.0, True, None, "auto", "none", "x:y", [], [1], ["ogm"], {"low": 1, "high": 3}]


def taken(document: Document) -> bool:
    try:
        check(document)
    except ExperimentError:
        return False
    return True


@pytest.mark.parametrize("section", [key for key in DEMO if key != "origin"])
def test_it_takes_whatever_the_check_takes(section):
    for place, value in itertools.product([place for place in PLACES if place[0] == section], VALUES):
        document = Document("demo.yaml", copy.deepcopy(DEMO))
        document.set(place, value)
        if found := refused(document.value):
            assert not taken(document), f"an editor would mark {place} {value!r}: {found}"
