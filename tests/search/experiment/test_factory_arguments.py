"""Keyword arguments of custom encoders and fusions in an experiment file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from torch import nn

from search.experiment.formatting import flat
from search.experiment.own_code import named_factories
from search.experiment.schema import as_values, to_yaml
from search.experiment.space import trial_from, with_changes
from tests.search.experiment.test_experiment import checked, mistakes_in, tell

HERE = __name__


def net(shape: tuple[int, ...], width: int = 32, *, act: Literal["relu", "gelu"] = "relu") -> nn.Module:
    return nn.Flatten()


def loose(shape, width, scales=(1, 2), **others):
    return nn.Flatten()


def nested(shape: tuple[int, ...], norm: Mapping[str, float] | None = None, kind: nn.Module | None = None) -> nn.Module:
    return nn.Flatten()


class Head(nn.Module):
    def __init__(self, dims: dict[str, int], classes: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()


def text(trial: str, more: str = "") -> str:
    """Return an experiment file; `trial` begins on line 3, `more` after it. `net` stands for this module's function."""
    own = f"name: x\ndataset: {{name: digits}}\ntrial:\n  {trial}\n{more}"
    return own.replace("own:", f"{HERE}:")


NET = "encoder: {audio: {name: 'own:net', width: 64}, visual: mlp}"
HEAD = "fusion: {name: 'own:Head', hidden: 32}"
ACCEPTS = ("width: int = 32", "act:", "net accepts")


@pytest.mark.parametrize(
    "trial",
    [
        NET,
        HEAD,
        "encoder: {name: 'own:net', width: 64, act: gelu}",
        "encoder: {audio: {name: 'own:loose', width: wide, scales: [3], any: {thing: 1}}, visual: mlp}",
        "encoder: {audio: {name: 'own:nested', norm: {eps: 1e-3}}, visual: mlp}",
        "fusion: {name: 'own:Head', hidden: 3, drop: 0}",
        "fusion: {name: 'no.such:head', hidden: 3}",  # the check that builds the models reports it
        "encoder: {name: mlp}",
    ],
)
def test_arguments_that_a_factory_accepts_are_kept(trial):
    experiment = checked(text(trial))
    assert checked(to_yaml(as_values(experiment))) == experiment
    assert trial_from(json.loads(experiment.model_dump_json())["trial"]) == experiment.trial


@pytest.mark.parametrize(
    ("trial", "found"),
    [
        (
            "encoder: {audio: mlp, visual: {name: mlp, width: 3}}",
            [("trial.encoder.visual", "mlp", "without arguments", '{"name": "mlp", "width": 3}')],
        ),
        (
            "encoder: {audio: {name: 'own:net', widht: 64, act: tanh}, visual: {name: 'own:net', width: 2.5}}",
            [
                ("trial.encoder.audio.act", "relu", "gelu", "'tanh'", *ACCEPTS),
                ("trial.encoder.audio.widht", "`trial.encoder.audio.width`", *ACCEPTS),
                ("trial.encoder.visual.width", "whole number", "2.5", *ACCEPTS),
            ],
        ),
        ("encoder: {name: 'own:net', depth: 1}", [("trial.encoder.depth", "width, act", *ACCEPTS)]),
        ("encoder: {name: 'own:loose', any: 1}", [("trial.encoder.width", "missing", "scales=(1, 2)", "**others")]),
        ("fusion: {name: 'own:Head'}", [("trial.fusion.hidden", "missing", "hidden: int, drop: float = 0.0")]),
        ("fusion: {name: 'own:Head', hidden: [1]}", [("trial.fusion.hidden", "whole number", "[1]")]),
        ("fusion: {name: film, hidden: 1}", [("trial.fusion", "film", "without arguments")]),
        ("fusion: {hidden: 1}", [("trial.fusion", "`name`", '{"hidden": 1}')]),
        ("fusion: {name: 'own:Head', hidden: .nan}", [("trial.fusion", "finite numbers, text", "hidden is not")]),
        ("encoder: {name: 'torchvision:resnet18', width: 1}", [("trial.encoder", "torchvision", "without arguments")]),
    ],
)
def test_arguments_that_a_factory_does_not_accept_are_named_with_those_that_it_does(trial, found):
    tell(mistakes_in(text(trial)), *((4, *fault) for fault in found))


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("encoder.audio.width: [32, wide]", ("space.encoder.audio.width[1]", "whole number", "'wide'", *ACCEPTS)),
        ("encoder.audio.width: {low: 1.5, high: 3}", ("space.encoder.audio.width", "whole numbers")),
        ("encoder.audio.wdth: [32]", ("space.encoder.audio.wdth", "`space.encoder.audio.width`")),
        ("encoder.audio.act: [relu]", ("space.encoder.audio.act", "not a path")),  # the recipe must give it
        ("encoder.visual: [mlp, {name: 'own:net', depth: 1}]", ("space.encoder.visual[1].depth", *ACCEPTS)),
        ("encoder.visual: [{name: mlp, width: 1}]", ("space.encoder.visual[0]", "without arguments")),
        ("fusion.name: ['own:Head', 'own:net']", ("space.fusion.name[1]", "`fusion.hidden`", "act")),
        ("fusion.name: [concat]", ("space.fusion.name[0]", "concat", "without arguments")),
        ("fusion.hidden: {low: 2, high: 2.5}", ("space.fusion.hidden", "whole numbers")),
    ],
)
def test_a_space_of_arguments_is_checked_against_the_signatures(entry, found):
    alpha = "modulation.alpha: [0.1, 0.2]"
    document = text(f"{NET}\n  {HEAD}", f"space:\n  {alpha}\n  {entry}\n")
    tell(mistakes_in(document), (8, *found))


def test_first_configurations_are_checked_against_the_signatures():
    first = "{fusion.hidden: 3}, {fusion.hidden: x}, {encoder.visual: {name: 'own:net', depth: 1}}"
    document = text(f"{NET}\n  {HEAD}", f"space: {{modulation.alpha: [0.1]}}\nsearch:\n  first: [{first}]\n")
    tell(
        mistakes_in(document),
        (8, "search.first[1].fusion.hidden", "whole number", "'x'"),
        (8, "search.first[2].encoder.visual.depth", *ACCEPTS),
    )


def test_arguments_are_paths_of_the_space():
    more = "space: {encoder.audio.width: [32, 64], fusion.hidden: {low: 2, high: 8}, modulation.alpha: [0.1]}\n"
    experiment = checked(text(f"{NET}\n  {HEAD}", more))
    changed: dict[str, Any] = flat(as_values(experiment)["trial"]) | {"encoder.audio.width": 32, "fusion.hidden": 4}
    trial = with_changes(experiment.trial, {"encoder.audio.width": 32, "fusion.hidden": 4})
    assert flat(as_values(experiment.model_copy(update={"trial": trial}))["trial"]) == changed


def test_only_the_names_of_factories_are_code_to_import_or_to_trust():
    arguments = "encoder: {audio: {name: 'a:net', file: 'b:net'}, visual: mlp}\n  fusion: 'c:head'"
    more = "space: {encoder.audio.file: ['d:x'], encoder.audio.name: ['e:net'], fusion: [{name: 'f:h', g: 'g:x'}]}\n"
    assert named_factories(checked(text(arguments, more))) == {"a:net", "c:head", "e:net", "f:h"}
