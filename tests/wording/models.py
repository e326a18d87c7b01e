"""Errors with models: models that cannot be built, missing models, and requests that a model cannot answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ogmge import Modulation, Modulator, checkpoint, fusion, unimodal_logits
from ogmge.config import TrialConfig
from ogmge.encoders import build_encoder
from ogmge.model import build_model
from ogmge.trainer import Trainer
from tests.wording.catalogue import Chapter, Entry, called, commanded, nothing
from tests.wording.laid_out import TRIAL, altered, trained
from tests.wording.laid_out import searched as searched_already

SEARCH = "run_search.py mine.yaml"


# ---- models that cannot be built ----


def searched(trial: str, *more: str, data: str = "Pictures", space: str = "fusion: [concat, sum]") -> str:
    """Return a search over models of custom data."""
    lines = [f"name: mine\ndataset: {{name: 'tests.wording.own:{data}'}}", f"trial: {{{trial}}}", f"space: {{{space}}}"]
    return "\n".join([*lines, *more]) + "\n"


CONV, MLP = "encoder: small_conv", "encoder: mlp, modulation: {parameters: all}"
UNBUILT = [
    ("A metric that does not exist", searched(CONV, "search: {metric: accuracy}")),
    ("A loss that should be maximised", searched(CONV, "search: {metric: val/loss}")),
    ("A torchvision model that does not exist", searched("encoder: 'torchvision:resnet19'")),
    ("Weights that do not exist", searched("encoder: resnet18, weights: IMAGENET")),
    ("An encoder whose module does not exist", searched("encoder: 'my_models:make'")),
    ("An encoder that is not a module", searched("encoder: 'tests.wording.own:no_module'")),
    ("An encoder whose features are not vectors", searched("encoder: 'tests.wording.own:not_flat'")),
    ("An encoder for one of two modalities", searched("encoder: {audio: small_conv}")),
    ("A head with too few logits", searched(CONV, space="fusion: [concat, 'tests.wording.own:narrow_head']")),
    ("Modulation of convolutions in a model without any", searched("encoder: mlp", data="Vectors")),
    ("Modulation of a single modality", searched(f"{CONV}, modalities: [audio]")),
    ("A modality that the data lack", searched(f"{CONV}, modalities: [audio, text]")),
    (
        "Several models that cannot be built",
        searched(CONV, "search: {metric: accuracy}", space="fusion: [sum, 'my_heads:attention'], encoder: [mlp]"),
    ),
]


# ---- trained models ----


def both() -> None:
    trained("modulated")
    trained("plain", "trial.modulation.method=none")


def cut_short() -> None:
    file = Path("runs/modulated/best.pt")
    file.write_bytes(file.read_bytes()[:-100])


def searched_run() -> None:
    best = searched_already().trial(0)
    best.mkdir()
    (best / "best.pt").touch()


def corrupt_search() -> None:
    searched_run()
    for journal in Path("runs/demo/tune").glob("*.jsonl"):
        journal.write_text("{}\n")


def stray() -> None:
    Path("runs/modulated/best.pt").rename("stray.pt")


def on_other_data() -> None:
    identity = Path("runs/modulated/run.json")
    identity.write_text(identity.read_text().replace("vectors-60", "vectors-50"))


def last_epochs() -> None:
    checkpoint.save({"trainer": {}, "history": []}, Path("runs/modulated/best.pt"))


def unwritable() -> None:
    Path("runs/modulated/test_readings.jsonl").mkdir()


def read_before() -> None:
    line = '{"time": "2026-01-02T03:04:05+00:00", "reason": "final training"}\n'
    Path("runs/modulated/test_readings.jsonl").write_text(line)


def read_often() -> None:
    lines = [f'{{"time": "2026-01-{day:02}T03:04:05+00:00", "reason": "evaluate"}}\n' for day in (2, 3)]
    for name in ("modulated", "plain"):
        Path("runs", name, "test_readings.jsonl").write_text("".join(lines))


def single() -> None:
    trained("audio", "trial.modalities=[audio]", "trial.modulation.method=none")


def untested() -> None:
    trained("untested", "dataset={name: 'tests.wording.own:Vectors'}")


EVALUATED: list[tuple[str, str, str, Callable[[], None]]] = [
    ("A file that is not a checkpoint", "evaluate runs/modulated/run.json --data mine.yaml", "", nothing),
    (
        "A checkpoint of a different version",
        "evaluate modulated",
        "`best.pt` has version 99.",
        partial(altered, "modulated", version=99),
    ),
    (
        "A checkpoint with the weights of a different model",
        "evaluate modulated",
        "The weights in `best.pt` belong to a different model.",
        partial(altered, "modulated", model={"layer.weight": torch.zeros(1)}),
    ),
    ("A checkpoint for resuming instead of a model", "evaluate modulated", "`best.pt` is a `last.pt`.", last_epochs),
    ("A folder without a model", "evaluate runs", "", nothing),
    ("A search instead of a model", "evaluate demo", "`runs/demo` is a search.", searched_run),
    ("A corrupt search instead of a model", "evaluate demo", "Its journal is corrupt.", corrupt_search),
    ("A checkpoint outside a run", "evaluate stray.pt", "`stray.pt` is not in the folder of a run.", stray),
    ("A changed setting of a trained model", "evaluate modulated trial.epochs=9", "", nothing),
    ("Data with different classes", "evaluate modulated 'dataset={name: \"tests.wording.own:Renamed\"}'", "", nothing),
    (
        "Data with a NaN in a sample",
        "evaluate modulated 'dataset={name: \"tests.wording.own:Broken\"}'",
        "",
        nothing,
    ),
    ("Data without a test split", "evaluate untested", "The data of `untested` have no test split.", untested),
    ("Data that have changed since a training", "evaluate modulated", "The data had 50 samples.", on_other_data),
    ("A folder that cannot be written to", "evaluate modulated -o mine.yaml/out", "", nothing),
    (
        "A log of readings that cannot be written",
        "evaluate modulated",
        "`test_readings.jsonl` is a folder.",
        unwritable,
    ),
    ("A test split that has been read before", "evaluate modulated", "The training has read it.", read_before),
    (
        "A test split that both models have read before",
        "evaluate modulated --against plain",
        "Each has read it twice.",
        read_often,
    ),
    ("Two models on the validation split", "evaluate modulated --against plain --split validation", "", nothing),
    ("The same model twice", "probe plain plain", "", nothing),
    ("Models of different data", "probe plain untested", "`untested` was trained on different data.", untested),
    ("A model of one modality", "probe audio --unimodal", "`audio` was trained on one modality.", single),
    ("Probes on a missing test split", "probe untested --split test", "", untested),
]


# ---- trainings ----

ORIGIN = """\
origin: {run: demo, trial: 3, arm: modulated, metric: val/accuracy, value: 0.5, seeds: 6, prediction: [0.4, 0.6],
         epochs: 2, verdict: helps, fingerprint: vectors-50, versions: {python: 3.11.7}}
"""
ALONE = TRIAL.format(name="mine")
TRAININGS = [
    ("`--all-data` with data that do not support it", "--all-data", ALONE),
    ("More processes than samples in a batch", "--workers 100", ALONE),
    ("A configuration found on different data", "", ALONE + ORIGIN),
]


# ---- the plug-in ----


def plug_in() -> dict[str, object]:
    """Return the names that a custom training loop has when it calls the plug-in."""
    encoders = {"audio": nn.Sequential(nn.Linear(6, 4)), "visual": nn.Sequential(nn.Linear(4, 4))}
    features = {name: torch.ones(2, 4) for name in encoders}
    return {
        "encoders": encoders,
        "transformer": nn.Sequential(nn.Conv2d(1, 32, 4, 4), nn.TransformerEncoderLayer(32, 4, 128)),
        "features": features,
        "head": fusion.Concat({"audio": 4, "visual": 4}, 3),
        "y": torch.tensor([0, 1]),
        "logits": {name: torch.zeros(2, 3) for name in encoders},
        "shapes": {"audio": (6,), "visual": (4,)},
        "broken": [({"audio": torch.full((2, 6), torch.nan), "visual": torch.zeros(2, 4)}, torch.tensor([0, 1]))],
        **{kind.__name__: kind for kind in (Modulation, Modulator, TrialConfig, Trainer)},
        **{f.__name__: f for f in (unimodal_logits, build_encoder, build_model)},
        "torch": torch,
        "checkpoint": checkpoint,
        "Path": Path,
    }


MODULATED = 'Modulation(parameters="all")'
CALLS = [
    ("An invalid modulation", 'Modulation(method="ogm-ge", alpha=-1, start=5, end=2)'),
    ("An invalid trial", 'TrialConfig(fusion="attention", accumulate=0, seed=-1)'),
    ("No encoder", "Modulator({}, Modulation())"),
    (
        "Scaling of the update without an optimizer",
        'Modulator(encoders, Modulation(parameters="all", apply="update"))',
    ),
    (
        "Adam, which cancels the modulation",
        "parameters = [p for encoder in encoders.values() for p in encoder.parameters()]\n"
        f"Modulator(encoders, {MODULATED}, optimizer=torch.optim.Adam(parameters))",
    ),
    (
        "LBFGS, which makes several updates per step",
        "parameters = [p for encoder in encoders.values() for p in encoder.parameters()]\n"
        'scaled = Modulation(parameters="all", apply="update")\n'
        "Modulator(encoders, scaled, optimizer=torch.optim.LBFGS(parameters))",
    ),
    (
        "An optimizer without hooks",
        'Modulator(encoders, Modulation(parameters="all", apply="update"), optimizer=object())',
    ),
    (
        "A transformer of which only the patch embedding is modulated",
        'Modulator({"audio": torch.nn.Conv2d(1, 8, 3), "visual": transformer}, Modulation())',
    ),
    ("One-hot labels", f"Modulator(encoders, {MODULATED}).observe(logits, torch.eye(3)[y])"),
    ("Fewer class ids than logits", f"Modulator(encoders, {MODULATED}).observe(logits, y[:1])"),
    ("Logits with unknown names", f'Modulator(encoders, {MODULATED}).observe({{"sound": logits["audio"]}}, y)'),
    ("Logits without class ids", f"Modulator(encoders, {MODULATED}).modulate(logits, epoch=0)"),
    ("Modulation without observed logits", f"Modulator(encoders, {MODULATED}).modulate(epoch=0)"),
    ("A substitute for an unknown modality", 'unimodal_logits(head, features, absent={"text": torch.ones(4)})'),
    ("A convolutional encoder for vectors", 'build_encoder("small_conv", (6,))'),
    (
        "A checkpoint of another program",
        'torch.save({"weights": torch.zeros(1)}, "mine.pt")\ncheckpoint.load(Path("mine.pt"))',
    ),
    (
        "A loss that is not finite",
        'config = TrialConfig(encoder="mlp", modulation=Modulation(parameters="all"))\n'
        'trainer = Trainer(build_model(config, shapes, classes=3), config, torch.device("cpu"))\n'
        "trainer.train_epoch(broken, epoch=3)",
    ),
]


def entries() -> Iterator[Entry]:
    for title, text in UNBUILT:
        yield commanded(title, SEARCH, file=text)
    data = "name: mine\ndataset: {name: 'tests.wording.own:Wider'}\n"
    for title, words, given, lay in EVALUATED:
        file = data if "mine.yaml" in words else None
        yield commanded(title, f"python -m search {words}", both, lay, file=file, given=given)
    for title, words, text in TRAININGS:
        yield commanded(title, f"python -m search train mine.yaml {words}".rstrip(), file=text)
    for title, code in CALLS:
        yield called(title, code, plug_in())


CHAPTER = Chapter("models", "Models and the plug-in", entries)
