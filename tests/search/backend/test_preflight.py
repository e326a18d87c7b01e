"""Errors that are found before the first worker starts."""

from __future__ import annotations

import warnings

import pytest
import torch

from datasets.loader.in_memory import InMemory, Split
from search.backend.preflight import check_models, check_search, metric_names
from search.experiment.load import check
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.yaml_source import override, parse
from tests.support.tells import tells

CHECKED = """
name: checked
dataset: {name: digits}
trial: {epochs: 3, encoder: small_conv, modulation: {end: 2}}
space: {fusion: [concat, sum], modulation.method: [ogm, ogm_ge]}
"""


def notes_of(*assignments: str) -> list[str]:
    return check_search(experiment("trial.encoder=small_conv", *assignments))[1]


@pytest.mark.parametrize(
    ("entry", "facts"),
    [
        (
            "optimizer.momentum={low: 0.1, high: 0.75, step: 0.2}",
            ["`space.optimizer.momentum.high`", "0.75", "to 0.7,"],
        ),
        ("optimizer.momentum={low: 0.1, high: 0.7, step: 0.2}", None),
        ("optimizer.momentum={low: 0.1, high: 0.7}", None),
        ("batch_size={low: 16, high: 70, step: 16}", ["`space.batch_size.high`", "70", "to 64,"]),
        ("modulation.end={low: 0, high: 2}", None),
        ("modulation.start={low: 0, high: 1, step: 2}", ["`space.modulation.start.high`", "to 0,"]),
    ],
)
def test_a_step_that_does_not_lead_to_the_end_of_its_range_is_noted(entry, facts):
    notes = [note for note in notes_of(f"space.{entry}") if ".high`" in note]
    for note, told in zip(notes, [facts] if facts else [], strict=True):
        tells(note, *told)


def data(**shapes: tuple[int, ...]) -> InMemory:
    split = Split({name: torch.zeros(4, *shape) for name, shape in shapes.items()}, torch.arange(4) % 2)
    return InMemory(["a", "b"], split, split, "")


IMAGES = data(audio=(1, 8, 8), visual=(3, 8, 8))
ALONE = ("trial.modalities=[audio]", "trial.modulation.method=none")


def experiment(*assignments: str) -> Experiment:
    document = parse(CHECKED, "checked.yaml")
    override(document, assignments)
    return check(document)


def problems(*assignments: str, on: InMemory = IMAGES) -> list[str]:
    with pytest.raises(ExperimentError) as refused:
        check_models(experiment(*assignments), on)
    return list(refused.value.sentences)


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("search.metric=val/loss", "search.mode=min"),
        ("search.metric=val/accuracy/visual",),
        ("space={}",),
        ("space={}", "trial.modulation.method=none", "trial.encoder=mlp"),
        ("space.encoder=[small_conv,mlp]", "trial.modulation.parameters=all"),
        ("space={}", *ALONE, "search.metric=val/accuracy/audio"),
        ("space={}", *ALONE, "trial.encoder={audio: small_conv, visual: mlp}", "trial.weights={audio: null}"),
        ("space.modalities=[null,[visual,audio]]",),
        ("space.fusion=[concat,sum,film,gated]", "space.optimizer.name=[sgd,adam]", "trial.modulation.apply=update"),
    ],
)
def test_what_can_be_trained_is_let_through_without_a_word(assignments):
    assert check_models(experiment(*assignments), IMAGES) == []


METRICS = "val/accuracy, val/loss, val/accuracy/audio, val/accuracy/visual"


@pytest.mark.parametrize(
    ("assignments", "facts"),
    [
        (("search.metric=accuracy",), ["`search.metric`", METRICS, "'accuracy'"]),
        (("search.metric=val/accuracy/text",), ["`search.metric`", METRICS, "'val/accuracy/text'"]),
        (("search.metric=val/loss",), ["`search.mode`", "min", "val/loss", "'max'"]),
        (("search.mode=min",), ["`search.mode`", "max", "val/accuracy", "'min'"]),
        (
            ("search.metric=val/accuracy/audio", "search.mode=min"),
            ["`search.mode`", "max", "val/accuracy/audio", "'min'"],
        ),
        (("search.metric=[val/accuracy,val/loss]",), ["`search.mode`", "min", "val/loss", "'max'"]),
        (("search.metric=[val/accuracy,val/auc]",), ["`search.metric`", METRICS, "'val/auc'"]),
    ],
)
def test_a_metric_that_there_is_not_or_that_goes_the_other_way_is_named(assignments, facts):
    [sentence] = problems(*assignments)
    tells(sentence, *facts)


VECTORS = data(left=(6,), right=(4,))


@pytest.mark.parametrize(
    ("assignments", "on", "facts"),
    [
        (("trial.encoder=torchvision:resnet0",), IMAGES, ["`trial.encoder`", "[1, 8, 8]", "'resnet0'"]),
        (("space.encoder=[small_conv,'torchvision:resnet0']",), IMAGES, ["`space.encoder`", "[1, 8, 8]", "'resnet0'"]),
        (
            ("trial.encoder={audio: small_conv, visual: small_conv}", "space.encoder.visual=['torchvision:resnet0']"),
            IMAGES,
            ["`space.encoder.visual`", "[3, 8, 8]", "'resnet0'"],
        ),
        (("space.weights=[null,/no/such/file.pt]",), IMAGES, ["`space.weights`", "/no/such/file.pt", "No such file"]),
        (("trial.weights={audio: x.pt}",), IMAGES, ["`trial.weights`", "audio, visual", "null: random weights"]),
        (("space.fusion=[concat,'no.such:head']",), IMAGES, ["`space.fusion`", "'no'", "'no.such:head'"]),
        (("search.first=[{fusion: 'no.such:head'}]",), IMAGES, ["`search.first[0].fusion`", "'no'", "'no.such:head'"]),
        (("space={}", "trial.fusion=film", *ALONE), IMAGES, ["`trial.fusion`", "concat or sum", "'film'"]),
        ((), VECTORS, ["`trial.encoder`", "[6]", "`mlp`", "'small_conv'"]),
    ],
)
def test_a_choice_that_no_model_can_be_built_of_is_named_wherever_it_stands(assignments, on, facts):
    [sentence] = problems(*assignments, on=on)
    tells(sentence, *facts)


@pytest.mark.parametrize(
    ("assignments", "on", "encoder"),
    [
        (("trial.encoder=mlp",), VECTORS, "left"),
        (("trial.encoder=mlp", "trial.modulation.method=none", "space.modulation.method=[ogm]"), VECTORS, "left"),
        (("trial.encoder={audio: small_conv, visual: mlp}",), IMAGES, "visual"),
        (("space.encoder=[small_conv,mlp]",), IMAGES, "audio"),
        (
            ("trial.encoder=mlp", "trial.modulation.parameters=all", "space.modulation.parameters=[all,conv]"),
            VECTORS,
            "left",
        ),
    ],
)
def test_a_modulation_that_would_find_nothing_is_named_though_the_trial_itself_be_a_baseline(assignments, on, encoder):
    [sentence] = problems(*assignments, on=on)
    tells(sentence, "`trial.modulation`", "`parameters`", "'conv'", f"'{encoder}'", "4-D", "'all'")


def test_all_that_is_wrong_is_said_at_once_and_each_thing_once():
    for encoder, keys in (
        ("trial.encoder=torchvision:resnet0", ["`search.metric`", "`trial.encoder`"]),
        ("space.encoder=[mlp,small_conv]", ["`search.metric`", "`space.fusion`", "`trial.modulation`"]),
    ):
        said = problems("search.metric=x", "space.fusion=[concat,'no.such:head']", encoder)
        for sentence, key in zip(said, keys, strict=True):
            tells(sentence, key)


@pytest.mark.parametrize(
    ("assignments", "optimizers"),
    [
        (("trial.optimizer.name=adam",), ["Adam"]),
        (("trial.optimizer.name=adam", "space.optimizer.name=[adamw,adam,sgd]"), ["Adam", "AdamW"]),
        (("space.optimizer.name=[sgd,adam]",), ["Adam"]),
        (("trial.optimizer.name=adam", "space.modulation.apply=[update,gradient]"), ["Adam"]),
        (("trial.optimizer.name=adam", "trial.modulation.apply=update"), []),
        (("trial.optimizer.name=adam", "space={}", "trial.modulation.method=none"), []),
    ],
)
def test_an_optimizer_that_undoes_the_modulation_is_noted_once(assignments, optimizers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # notes must not be issued as warnings
        notes = check_models(experiment(*assignments), IMAGES)
    for note, optimizer in zip(notes, optimizers, strict=True):
        tells(note, optimizer, "`apply='update'`")


ONE = ["`trial.modalities`", "two", "`modulation.method` none"]
KNOWN = ["`trial.modalities`", "audio, visual"]


@pytest.mark.parametrize(
    ("assignments", "on", "facts"),
    [
        (("trial.modalities=[audio]",), IMAGES, [[*ONE, '["audio"]']]),
        (("space={}", "trial.modalities=[audio]"), IMAGES, [[*ONE, '["audio"]']]),
        (("space={}",), data(audio=(1, 8, 8)), [[*ONE, '["audio"]']]),
        (
            ("space.modalities=[null,[audio],[visual]]",),
            IMAGES,
            [["`space.modalities`", *ONE[1:], f'["{name}"]'] for name in IMAGES.shapes],
        ),
        (("trial.modalities=[audio,smell]",), IMAGES, [[*KNOWN, '["audio", "smell"]']]),
        (
            ("space.modalities=[[audio,smell],null]",),
            IMAGES,
            [["`space.modalities`", *KNOWN[1:], '["audio", "smell"]']],
        ),
        (("space={}", "trial.modalities=[smell]"), IMAGES, [[*KNOWN, '["smell"]'], [*ONE, '["smell"]']]),
        (
            ("space={}", *ALONE, "search.metric=val/accuracy/visual"),
            IMAGES,
            [["`search.metric`", "val/accuracy, val/loss, val/accuracy/audio", "'val/accuracy/visual'"]],
        ),
        (
            ("space={}", *ALONE, "trial.encoder={audio: small_conv, smell: mlp}"),
            IMAGES,
            [["`trial.encoder`", "audio", "visual", '{"audio": "small_conv", "smell": "mlp"}']],
        ),
    ],
)
def test_modalities_that_cannot_be_trained_on_are_named(assignments, on, facts):
    for sentence, told in zip(problems(*assignments, on=on), facts, strict=True):
        tells(sentence, *told)


THREE = data(audio=(1, 8, 8), visual=(3, 8, 8), flow=(2, 8, 8))
PAIRS = ("space.modalities=[[audio,visual],[flow,visual]]", "search.metric=val/accuracy/{}")


def test_only_what_every_trial_has_can_be_optimised():
    assert check_models(experiment(PAIRS[0], PAIRS[1].format("visual")), THREE) == []
    [sentence] = problems(PAIRS[0], PAIRS[1].format("flow"), on=THREE)
    tells(sentence, "`search.metric`", "val/accuracy, val/loss, val/accuracy/visual", "'val/accuracy/flow'")


def test_what_can_be_optimised_follows_the_data():
    assert metric_names(["a"]) == ["val/accuracy", "val/loss", "val/accuracy/a"]
