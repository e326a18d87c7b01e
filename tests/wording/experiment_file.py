"""Errors in an experiment file, all found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.wording.catalogue import Chapter, Entry, commanded

HEAD = "name: mine\ndataset: {name: digits}\n"
COMMAND = "run_search.py mine.yaml"

SYNTAX = [
    ("A missing closing bracket", HEAD + "trial: {epochs: 3\nspace: {fusion: [concat, sum]}\n"),
    ("A tab at the start of a line", HEAD + "trial:\n\tepochs: 3\n"),
    ("A colon without a space after it", HEAD + "trial:\n  epochs:3\n  batch_size: 32\n"),
    ("Duplicate keys", HEAD + "trial: {epochs: 3, batch_size: 8, epochs: 5}\nname: other\n"),
    ("A key that is a number", HEAD + "trial: {encoder: {1: mlp}}\n"),
    ("A file that is a list", "- name: mine\n- dataset: digits\n"),
    ("An empty file", "# to do\n"),
    ("A whole number of more than 64 bits", HEAD + "trial: {seed: 123456789012345678901234567890}\n"),
    ("An alias that contains itself", HEAD + "trial: &trial {modulation: *trial}\n"),
]

UNKNOWN = [
    ("A misspelt key", HEAD + "trial:\n  modulation:\n    alhpa: 0.3\n"),
    ("A section that does not exist", HEAD + "callbacks: []\n"),
    ("A dotted key outside `space`", HEAD + "trial: {optimizer.lr: 0.1}\n"),
    ("An unknown option of the data set", "name: mine\ndataset: {name: digits, snr: [-18, -10]}\n"),
    ("A file without a name and data", "trial: {epochs: 3}\n"),
]

TYPES = [
    ("A number in quotes", HEAD + "trial: {optimizer: {lr: '1e-3'}}\n"),
    ("An empty section", HEAD + "trial:\n"),
    ("A Boolean instead of a number", HEAD + "search: {resources: {cpu: true}}\n"),
    ("A misspelt choice", HEAD + "search: {sampler: tpee}\n"),
    ("An encoder that does not exist", HEAD + "trial: {encoder: resnet}\n"),
    ("A name that cannot be a folder name", "name: my/search\ndataset: {name: digits}\n"),
]

BOUNDS = [
    ("No epochs", HEAD + "trial: {epochs: 0}\n"),
    ("A learning rate of zero", HEAD + "trial: {optimizer: {lr: 0}}\n"),
    ("A window that ends before it starts", HEAD + "trial:\n  modulation:\n    start: 60\n    end: 50\n"),
    ("A step schedule without milestones", HEAD + "trial: {schedule: {name: step}}\n"),
    ("More micro-batches than samples in a batch", HEAD + "trial: {batch_size: 32, accumulate: 64}\n"),
    ("The same modality twice", HEAD + "trial: {modalities: [audio, audio]}\n"),
    ("One trial for two arms", HEAD + "search: {trials: 1}\n"),
]

SPACE = [
    ("A misspelt path in the space", HEAD + "space: {optimizer.lrr: [1e-3, 1e-2]}\n"),
    ("A whole section in the space", HEAD + "space: {optimizer: [sgd, adam]}\n"),
    ("A list without brackets in the space", HEAD + "space: {fusion: 'concat,sum'}\n"),
    ("A single value as an entry of the space", HEAD + "space: {fusion: concat}\n"),
    ("An invalid choice in the space", HEAD + "space: {fusion: [concat, summ]}\n"),
    ("A range without its end", HEAD + "space: {modulation.alpha: {low: 0.05}}\n"),
    ("A range with its bounds swapped", HEAD + "space: {optimizer.lr: {low: 1, high: 1e-3}}\n"),
    (
        "A logarithmic range with a step",
        HEAD + "space: {batch_size: {low: 8, high: 64, step: 8, log: true}}\n",
    ),
    ("A space without any modulation", HEAD + "space: {modulation.method: [none]}\n"),
    (
        "A space in which no window opens",
        HEAD + "trial: {epochs: 20}\nspace:\n  modulation.start: [30]\n  modulation.end: [50]\n",
    ),
    (
        "Choices that exclude each other",
        HEAD + "space:\n  batch_size: [64, 16]\n  accumulate: [1, 32]\n",
    ),
    (
        "A grid over a range without a step",
        HEAD + "space: {optimizer.lr: {low: 1e-3, high: 1}}\nsearch: {sampler: grid}\n",
    ),
    ("CMA-ES over categories", HEAD + "space: {fusion: [concat, sum]}\nsearch: {sampler: cmaes}\n"),
    (
        "CMA-ES with two metrics",
        HEAD
        + "space: {optimizer.lr: {low: 1e-3, high: 1}}\n"
        + "search: {sampler: cmaes, metric: [val/accuracy, val/loss], mode: [max, min]}\n",
    ),
    (
        "Arguments that a factory does not accept",
        HEAD
        + "trial:\n  encoder: {name: 'tests.wording.own:wide', widht: 64, act: tanh}\n"
        + "  fusion: {name: 'tests.wording.own:deep_head'}\n",
    ),
    ("Arguments of a built-in fusion", HEAD + "trial: {fusion: {name: film, hidden: 32}}\n"),
    ("Arguments without a factory", HEAD + "trial: {fusion: {hidden: 32}}\n"),
    (
        "Choices that do not fit the arguments",
        HEAD
        + "trial: {fusion: {name: 'tests.wording.own:deep_head', hidden: 32}}\n"
        + "space:\n  fusion.name: ['tests.wording.own:deep_head', 'tests.wording.own:narrow_head']\n"
        + "  modulation.alpha: [0.1, 0.5]\n",
    ),
    ("Nothing to search", HEAD + "trial: {epochs: 3}\n"),
]

FIRST = "space: {fusion: [concat, sum]}\nsearch:\n  first:\n"
SEARCH = [
    ("Rungs that do not rise", HEAD + "search: {scheduler: {rungs: [9, 3]}}\n"),
    ("A rung after the last epoch", HEAD + "trial: {epochs: 10}\nsearch: {scheduler: {rungs: [3, 10]}}\n"),
    ("Rungs for another scheduler", HEAD + "search: {scheduler: {name: median, rungs: [3, 9]}}\n"),
    ("More brackets than rungs", HEAD + "trial: {epochs: 10}\nsearch: {scheduler: {brackets: 5}}\n"),
    ("Two metrics and one mode", HEAD + "search: {metric: [val/accuracy, val/loss], mode: [max]}\n"),
    ("A budget of GPU-hours without a GPU", HEAD + "search: {budget: {gpu_hours: 10}}\n"),
    (
        "A budget too small for the confirmation",
        HEAD + "trial: {epochs: 10}\nsearch: {budget: {epochs: 200}}\nconfirm: {seeds: 10}\n",
    ),
    ("An invalid first configuration", HEAD + FIRST + "    - {fusion: summ, optimizer.lrr: 1}\n"),
    (
        "A first configuration whose window never opens",
        HEAD + FIRST + "    - {epochs: 3, modulation.start: 3}\n",
    ),
    ("A first configuration that is not a mapping", HEAD + FIRST + "    - sum\n"),
    ("The same first configuration twice", HEAD + FIRST + "    - {optimizer.lr: 1}\n    - {optimizer.lr: 1.0}\n"),
    (
        "More first configurations than trials",
        HEAD + "space: {fusion: [concat, sum]}\nsearch:\n  trials: 4\n  first: [{fusion: sum}, {fusion: film}]\n",
    ),
    ("The same earlier search twice", HEAD + "search: {learn_from: [before, before]}\n"),
    (
        "A sampler that cannot learn from earlier searches",
        HEAD + "space: {fusion: [concat, sum]}\nsearch: {sampler: grid, learn_from: [before]}\n",
    ),
    ("An invalid address", HEAD + "search: {address: my-cluster}\n"),
    ("A storage with a password in its URI", HEAD + "search: {storage: 's3://me:secret@bucket/runs'}\n"),
]

DATA_SETS = [
    ("A misspelt data set", "name: mine\ndataset: {name: vgsound}\n"),
    ("A data set without a name", "name: mine\ndataset: {source: ~/data}\n"),
    ("A custom data set whose module does not exist", "name: mine\ndataset: {name: 'my_data:Clips'}\n"),
    ("A custom data set that cannot be opened", "name: mine\ndataset: {name: 'numpy:ndarray'}\n"),
    ("A data set without its folders", "name: mine\ndataset: {name: vggsound}\n"),
    (
        "Options of a data set that contradict each other",
        "name: mine\ndataset: {name: ave, source: AVE, store: ave, frames: 5, stored_frames: 3, max_quarantined: 2}\n",
    ),
    (
        "One of two required lists",
        "name: mine\ndataset: {name: cremad, source: CREMA-D, store: store, train_list: train.csv}\n",
    ),
    ("A table without file columns", "name: mine\ndataset: {name: table, source: clips.csv, store: store}\n"),
]

SEVERAL = """\
name: ../x
dataset:
  name: digits
  snr: [-18, -10]
trial:
  epochs: twelve
  fusion: conact
  optimzer: {lr: 1}
  modulation: {alpha: .nan, start: 60, end: 50}
space:
  fusion: []
  optimizer.lr: {low: 1, high: 1e-3}
search:
  trials: 1
  resources: {gpu: -1, cpu: true}
trakcing: {}
"""

WRONG_DATA = """\
import torch
from datasets import InMemory, Split


class Clips:
    def open(self):
        x = {"audio": torch.zeros(4, 6).numpy(), "visual": torch.full((4, 5), torch.nan)}
        return InMemory(("cat", "dog"), Split(x, torch.zeros(4)), Split(x, torch.tensor([0, 1, 2, 0])), "1")
"""


OWN_TRIAL = "trial: {encoder: mlp, modulation: {parameters: all}}\nspace: {optimizer.lr: [1e-3, 1e-2]}\n"
OWN_DATA = [
    ("Labels that are floats, one-hot or counted from 1", "Labels"),
    ("Samples that are no tensors, or no numbers", "Samples"),
    ("Samples that float32 cannot hold", "TooLarge"),
    ("Data whose `train` raises an error, and whose `validation` yields no batch", "Unreadable"),
    ("Data in memory that are no splits", "NoSplits"),
    ("Data with wrong `shapes` and `classes`", "Members"),
    ("Data with a list in place of a method", "NoMethod"),
]
OWN_MODELS = [
    ("An encoder that fails on real samples", "trial.encoder=tests.wording.own_faults:Fussy"),
    ("An encoder whose features are NaN", "trial.encoder=tests.wording.own_faults:Undefined"),
    (
        "A batch size that is too small for a batch norm",
        "trial.encoder=tests.wording.own_faults:Normed trial.batch_size=1",
    ),
    (
        "A choice of batch sizes, one of which is too small",
        "trial.encoder=tests.wording.own_faults:Normed space.batch_size=[1,8]",
    ),
]

NAMED_DATA = """\
import torch
from datasets import InMemory, Split


class Clips:
    def open(self):
        split = Split({"front.left": torch.rand(4, 6), "type": torch.rand(4, 5)}, torch.tensor([0, 1, 1, 0]))
        return InMemory(("cat", "dog"), split, split, "1")
"""


def entries() -> Iterator[Entry]:
    for title, file in [*SYNTAX, *UNKNOWN, *TYPES, *BOUNDS, *SPACE, *SEARCH, *DATA_SETS]:
        yield commanded(title, COMMAND, file=file)
    yield commanded("Several errors at once", COMMAND, file=SEVERAL)
    yield commanded("An error in the file and one on the command line", f"{COMMAND} search.trials=x", file=BOUNDS[0][1])

    yield commanded(
        "A module that another one of the same name hides",
        COMMAND,
        lambda: Path("tests.py").touch(),
        file="name: mine\ndataset: {name: 'tests:Clips'}\n",
        given="`tests.py` lies beside the file.",
    )
    yield _own_module("A data set with arrays and labels that no model can train on", "wrong_data", WRONG_DATA, "")
    for title, kind in OWN_DATA:
        yield commanded(
            title, COMMAND, file=f"name: mine\ndataset: {{name: 'tests.wording.own_faults:{kind}'}}\n{OWN_TRIAL}"
        )
    for title, changes in OWN_MODELS:
        yield commanded(
            title,
            f"{COMMAND} {changes}",
            file=f"name: mine\ndataset: {{name: 'tests.wording.own:Vectors'}}\n{OWN_TRIAL}",
        )
    title = "Modalities with names that modules and folders cannot have"
    yield _own_module(title, "named_data", NAMED_DATA, "trial: {encoder: mlp}\n")
    yield commanded("An experiment file that does not exist", COMMAND)
    yield commanded(
        "An experiment file that is not in UTF-8",
        COMMAND,
        lambda: Path("mine.yaml").write_bytes("name: größer\n".encode("latin-1")),
        given="`mine.yaml` is encoded in Latin-1.",
    )
    yield commanded(
        "An experiment file in UTF-16",
        COMMAND,
        lambda: Path("mine.yaml").write_bytes("name: mine\n".encode("utf-16")),
        given="`mine.yaml` is encoded in UTF-16.",
    )


def _own_module(title: str, name: str, text: str, trial: str) -> Entry:
    """Return the entry of a data set in a module beside the file."""
    return commanded(
        title,
        COMMAND,
        lambda: Path(f"{name}.py").write_text(text, encoding="utf-8"),
        file=f"name: mine\ndataset: {{name: '{name}:Clips'}}\n{trial}space: {{fusion: [concat, sum]}}\n",
        given=f"`{name}.py` lies beside the file:\n\n```python\n{text}```",
    )


CHAPTER = Chapter("experiment_file", "The experiment file", entries)
