"""What is known to go wrong before the first worker starts."""

from __future__ import annotations

import warnings

import pytest
import torch

from datasets.memory import InMemory, Split
from search.document import override, parse
from search.experiment import Experiment, ExperimentError
from search.rehearsal import known_metrics, rehearse
from search.validation import check

REHEARSED = """
name: rehearsed
dataset: {name: digits}
trial: {epochs: 3, encoder: small_conv, modulation: {end: 2}}
space: {fusion: [concat, sum], modulation.method: [ogm, ogm_ge]}
"""


def data(**shapes: tuple[int, ...]) -> InMemory:
    split = Split({name: torch.zeros(4, *shape) for name, shape in shapes.items()}, torch.arange(4) % 2)
    return InMemory(["a", "b"], split, split, "")


IMAGES = data(audio=(1, 8, 8), visual=(3, 8, 8))
ALONE = ("trial.modalities=[audio]", "trial.modulation.method=none")


def experiment(*assignments: str) -> Experiment:
    document = parse(REHEARSED, "rehearsed.yaml")
    override(document, assignments)
    return check(document)


def problems(*assignments: str, on: InMemory = IMAGES) -> list[str]:
    with pytest.raises(ExperimentError) as refused:
        rehearse(experiment(*assignments), on)
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
    assert rehearse(experiment(*assignments), IMAGES) == []


METRICS = "val/accuracy, val/loss, val/accuracy/audio, val/accuracy/visual"


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (("search.metric=accuracy",), f"`search.metric` must be one of {METRICS}, but got 'accuracy'"),
        (
            ("search.metric=val/accuracy/text",),
            f"`search.metric` must be one of {METRICS}, but got 'val/accuracy/text'",
        ),
        (("search.metric=val/loss",), "`search.mode` must be min for val/loss, but got 'max'"),
        (("search.mode=min",), "`search.mode` must be max for val/accuracy, but got 'min'"),
        (
            ("search.metric=val/accuracy/audio", "search.mode=min"),
            "`search.mode` must be max for val/accuracy/audio, but got 'min'",
        ),
        (("search.metric=[val/accuracy,val/loss]",), "`search.mode` must be min for val/loss, but got 'max'"),
        (
            ("search.metric=[val/accuracy,val/auc]",),
            f"`search.metric` must be one of {METRICS}, but got 'val/auc'",
        ),
    ],
)
def test_a_metric_that_there_is_not_or_that_goes_the_other_way_is_named(assignments, sentence):
    assert problems(*assignments) == [sentence]


MISSING = "torchvision has no image model 'resnet0'"
VECTORS = data(left=(6,), right=(4,))


@pytest.mark.parametrize(
    ("assignments", "on", "path", "reason"),
    [
        (("trial.encoder=torchvision:resnet0",), IMAGES, "encoder", MISSING),
        (("space.encoder=[small_conv,'torchvision:resnet0']",), IMAGES, "encoder", MISSING),
        (
            ("trial.encoder={audio: small_conv, visual: small_conv}", "space.encoder.visual=['torchvision:resnet0']"),
            IMAGES,
            "encoder",
            MISSING,
        ),
        (("space.weights=[null,/no/such/file.pt]",), IMAGES, "encoder", "No such file"),
        (("space.fusion=[concat,'no.such:head']",), IMAGES, "fusion", "No module named 'no'"),
        (("space={}", "trial.fusion=film", *ALONE), IMAGES, "fusion", "where there is one modality"),
        ((), VECTORS, "encoder", "`mlp` takes vectors"),
    ],
)
def test_a_choice_that_no_model_can_be_built_of_is_named_wherever_it_stands(assignments, on, path, reason):
    (sentence,) = problems(*assignments, on=on)
    assert sentence.startswith(f"`trial.{path}")
    assert reason in sentence


@pytest.mark.parametrize(
    ("assignments", "on"),
    [
        (("trial.encoder=mlp",), VECTORS),
        (("trial.encoder=mlp", "trial.modulation.method=none", "space.modulation.method=[ogm]"), VECTORS),
        (("trial.encoder={audio: small_conv, visual: mlp}",), IMAGES),
        (("space.encoder=[small_conv,mlp]",), IMAGES),
        (("trial.encoder=mlp", "trial.modulation.parameters=all", "space.modulation.parameters=[all,conv]"), VECTORS),
    ],
)
def test_a_modulation_that_would_find_nothing_is_named_though_the_trial_itself_be_a_baseline(assignments, on):
    (sentence, *_) = problems(*assignments, on=on)
    assert sentence.startswith("`trial.modulation`: `parameters` = 'conv' finds nothing to modulate in the encoder")
    assert sentence.endswith("it has no 4-D (convolution) weight; say 'all'")


def test_all_that_is_wrong_is_said_at_once_and_each_thing_once():
    said = problems("search.metric=x", "space.fusion=[concat,'no.such:head']", "trial.encoder=torchvision:resnet0")
    assert [sentence.split()[0] for sentence in said] == ["`search.metric`", "`trial.encoder`"]
    said = problems("search.metric=x", "space.fusion=[concat,'no.such:head']", "space.encoder=[mlp,small_conv]")
    assert [sentence.split()[0] for sentence in said] == ["`search.metric`", "`trial.fusion`", "`trial.modulation`:"]


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
        warnings.simplefilter("error")  # a note is no warning
        notes = rehearse(experiment(*assignments), IMAGES)
    assert [note.split()[0] for note in notes] == optimizers
    assert all("`apply='update'` scales the update instead" in note for note in notes)


METRIC = "`search.metric` must be one of val/accuracy, val/loss, val/accuracy/audio, but got 'val/accuracy/visual'"
ONE = (
    "`trial.modalities` must be two or more, or else `modulation.method` none (one alone has nothing to be balanced "
    "with)"
)
KNOWN = "`trial.modalities` must be of the data's, audio, visual"


@pytest.mark.parametrize(
    ("assignments", "on", "sentences"),
    [
        (("trial.modalities=[audio]",), IMAGES, [f"{ONE}, but got ['audio']"]),
        (("space={}", "trial.modalities=[audio]"), IMAGES, [f"{ONE}, but got ['audio']"]),
        (("space={}",), data(audio=(1, 8, 8)), [f"{ONE}, but got ['audio']"]),
        (("space.modalities=[null,[audio],[visual]]",), IMAGES, [f"{ONE}, but got ['{n}']" for n in IMAGES.shapes]),
        (("trial.modalities=[audio,smell]",), IMAGES, [f"{KNOWN}, but got ['audio', 'smell']"]),
        (("space.modalities=[[audio,smell],null]",), IMAGES, [f"{KNOWN}, but got ['audio', 'smell']"]),
        (
            ("space={}", "trial.modalities=[smell]"),
            IMAGES,
            [f"{KNOWN}, but got ['smell']", f"{ONE}, but got ['smell']"],
        ),
        (
            ("space={}", *ALONE, "search.metric=val/accuracy/visual"),
            IMAGES,
            [METRIC],
        ),
        (
            ("space={}", *ALONE, "trial.encoder={audio: small_conv, smell: mlp}"),
            IMAGES,
            [
                "`trial.encoder` must be given for the modalities audio (others of the data: visual), but got "
                "{'audio': 'small_conv', 'smell': 'mlp'}"
            ],
        ),
    ],
)
def test_modalities_that_cannot_be_trained_on_are_named(assignments, on, sentences):
    assert problems(*assignments, on=on) == sentences


THREE = data(audio=(1, 8, 8), visual=(3, 8, 8), flow=(2, 8, 8))
PAIRS = ("space.modalities=[[audio,visual],[flow,visual]]", "search.metric=val/accuracy/{}")


def test_only_what_every_trial_has_can_be_optimised():
    assert rehearse(experiment(PAIRS[0], PAIRS[1].format("visual")), THREE) == []
    [sentence] = problems(PAIRS[0], PAIRS[1].format("flow"), on=THREE)
    assert sentence.startswith("`search.metric` must be one of val/accuracy, val/loss, val/accuracy/visual, but got")


def test_what_can_be_optimised_follows_the_data():
    assert known_metrics(["a"]) == ["val/accuracy", "val/loss", "val/accuracy/a"]
