"""Mistakes in an experiment file, which are all found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.wording.catalogue import Chapter, Entry, commanded

HEAD = "name: mine\ndataset: {name: digits}\n"
COMMAND = "run_search.py mine.yaml"

SYNTAX = [
    ("A bracket that is not closed", HEAD + "trial: {epochs: 3\nspace: {fusion: [concat, sum]}\n"),
    ("A tab at the beginning of a line", HEAD + "trial:\n\tepochs: 3\n"),
    ("A colon without a space behind it", HEAD + "trial:\n  epochs:3\n  batch_size: 32\n"),
    ("Keys that are given twice", HEAD + "trial: {epochs: 3, batch_size: 8, epochs: 5}\nname: other\n"),
    ("A key that is a number", HEAD + "trial: {encoder: {1: mlp}}\n"),
    ("A file that is a list", "- name: mine\n- dataset: digits\n"),
    ("An empty file", "# to do\n"),
    ("A whole number of more than 64 bits", HEAD + "trial: {seed: 123456789012345678901234567890}\n"),
    ("An alias that contains itself", HEAD + "trial: &trial {modulation: *trial}\n"),
]

UNKNOWN = [
    ("A key that is misspelt", HEAD + "trial:\n  modulation:\n    alhpa: 0.3\n"),
    ("A section that does not exist", HEAD + "callbacks: []\n"),
    ("A dot in a key, which only `space` knows", HEAD + "trial: {optimizer.lr: 0.1}\n"),
    ("An option that the data set does not have", "name: mine\ndataset: {name: digits, snr: [-18, -10]}\n"),
    ("Neither a name nor data", "trial: {epochs: 3}\n"),
]

TYPES = [
    ("A number in quotes", HEAD + "trial: {optimizer: {lr: '1e-3'}}\n"),
    ("A section without content", HEAD + "trial:\n"),
    ("A Boolean in place of a number", HEAD + "search: {resources: {cpu: true}}\n"),
    ("A choice that is misspelt", HEAD + "search: {sampler: tpee}\n"),
    ("An encoder that does not exist", HEAD + "trial: {encoder: resnet}\n"),
    ("A name that cannot be that of a folder", "name: my/search\ndataset: {name: digits}\n"),
]

BOUNDS = [
    ("No epochs", HEAD + "trial: {epochs: 0}\n"),
    ("A learning rate of zero", HEAD + "trial: {optimizer: {lr: 0}}\n"),
    ("A window that ends before it begins", HEAD + "trial:\n  modulation:\n    start: 60\n    end: 50\n"),
    ("A step schedule without milestones", HEAD + "trial: {schedule: {name: step}}\n"),
    ("More micro-batches than samples in a batch", HEAD + "trial: {batch_size: 32, accumulate: 64}\n"),
    ("The same modality twice", HEAD + "trial: {modalities: [audio, audio]}\n"),
    ("One trial for two arms", HEAD + "search: {trials: 1}\n"),
]

SPACE = [
    ("A path in the space that is misspelt", HEAD + "space: {optimizer.lrr: [1e-3, 1e-2]}\n"),
    ("A whole section in the space", HEAD + "space: {optimizer: [sgd, adam]}\n"),
    ("An entry of the space that is one value", HEAD + "space: {fusion: concat}\n"),
    ("A choice in the space that cannot be", HEAD + "space: {fusion: [concat, summ]}\n"),
    ("A range without its end", HEAD + "space: {modulation.alpha: {low: 0.05}}\n"),
    ("A range that is upside down", HEAD + "space: {optimizer.lr: {low: 1, high: 1e-3}}\n"),
    (
        "A range with steps on a logarithmic scale",
        HEAD + "space: {batch_size: {low: 8, high: 64, step: 8, log: true}}\n",
    ),
    ("A space in which nothing is modulated", HEAD + "space: {modulation.method: [none]}\n"),
    (
        "A space without a window that opens",
        HEAD + "trial: {epochs: 20}\nspace:\n  modulation.start: [30]\n  modulation.end: [50]\n",
    ),
    (
        "Choices that cannot stand together",
        HEAD + "space:\n  batch_size: [64, 16]\n  accumulate: [1, 32]\n",
    ),
    (
        "A grid over a range without steps",
        HEAD + "space: {optimizer.lr: {low: 1e-3, high: 1}}\nsearch: {sampler: grid}\n",
    ),
    ("CMA-ES over words", HEAD + "space: {fusion: [concat, sum]}\nsearch: {sampler: cmaes}\n"),
    (
        "CMA-ES with two metrics",
        HEAD
        + "space: {optimizer.lr: {low: 1e-3, high: 1}}\n"
        + "search: {sampler: cmaes, metric: [val/accuracy, val/loss], mode: [max, min]}\n",
    ),
    ("Nothing to search", HEAD + "trial: {epochs: 3}\n"),
]

FIRST = "space: {fusion: [concat, sum]}\nsearch:\n  first:\n"
SEARCH = [
    ("Rungs that do not rise", HEAD + "search: {scheduler: {rungs: [9, 3]}}\n"),
    ("A rung behind the last epoch", HEAD + "trial: {epochs: 10}\nsearch: {scheduler: {rungs: [3, 10]}}\n"),
    ("Rungs for another scheduler", HEAD + "search: {scheduler: {name: median, rungs: [3, 9]}}\n"),
    ("More brackets than rungs", HEAD + "trial: {epochs: 10}\nsearch: {scheduler: {brackets: 5}}\n"),
    ("A mode for one of two metrics", HEAD + "search: {metric: [val/accuracy, val/loss], mode: [max]}\n"),
    ("A budget of GPU-hours without a GPU", HEAD + "search: {budget: {gpu_hours: 10}}\n"),
    (
        "A budget that the confirmation alone would spend",
        HEAD + "trial: {epochs: 10}\nsearch: {budget: {epochs: 200}}\nconfirm: {seeds: 10}\n",
    ),
    ("A configuration to try first that cannot be", HEAD + FIRST + "    - {fusion: summ, optimizer.lrr: 1}\n"),
    (
        "A configuration to try first whose window never opens",
        HEAD + FIRST + "    - {epochs: 3, modulation.start: 3}\n",
    ),
    ("A configuration to try first that is no mapping", HEAD + FIRST + "    - sum\n"),
    ("The same configuration twice", HEAD + FIRST + "    - {optimizer.lr: 1}\n    - {optimizer.lr: 1.0}\n"),
    (
        "More configurations to try first than trials",
        HEAD + "space: {fusion: [concat, sum]}\nsearch:\n  trials: 4\n  first: [{fusion: sum}, {fusion: film}]\n",
    ),
    ("An earlier search that is named twice", HEAD + "search: {learn_from: [before, before]}\n"),
    (
        "A sampler that cannot learn from earlier searches",
        HEAD + "space: {fusion: [concat, sum]}\nsearch: {sampler: grid, learn_from: [before]}\n",
    ),
    ("An address that is none", HEAD + "search: {address: my-cluster}\n"),
    ("A storage with a password in it", HEAD + "search: {storage: 's3://me:secret@bucket/runs'}\n"),
]

DATA_SETS = [
    ("A data set that is misspelt", "name: mine\ndataset: {name: vgsound}\n"),
    ("Data without the name of the data set", "name: mine\ndataset: {source: ~/data}\n"),
    ("A data set of one's own whose module does not exist", "name: mine\ndataset: {name: 'my_data:Clips'}\n"),
    ("A data set of one's own that cannot be opened", "name: mine\ndataset: {name: 'fractions:Fraction'}\n"),
    ("A data set without its folders", "name: mine\ndataset: {name: vggsound}\n"),
    (
        "Options of a data set that contradict each other",
        "name: mine\ndataset: {name: ave, source: AVE, store: ave, frames: 5, stored_frames: 3, max_quarantined: 2}\n",
    ),
    (
        "One list of two",
        "name: mine\ndataset: {name: cremad, source: CREMA-D, store: store, train_list: train.csv}\n",
    ),
    ("A table without columns of files", "name: mine\ndataset: {name: table, source: clips.csv, store: store}\n"),
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


def entries() -> Iterator[Entry]:
    for title, file in [*SYNTAX, *UNKNOWN, *TYPES, *BOUNDS, *SPACE, *SEARCH, *DATA_SETS]:
        yield commanded(title, COMMAND, file=file)
    yield commanded("Several mistakes at once", COMMAND, file=SEVERAL)
    yield commanded(
        "A mistake in the file, and one on the command line", f"{COMMAND} search.trials=x", file=BOUNDS[0][1]
    )

    yield commanded("An experiment file that does not exist", COMMAND)
    yield commanded(
        "An experiment file that is not in UTF-8",
        COMMAND,
        lambda: Path("mine.yaml").write_bytes("name: größer\n".encode("latin-1")),
        given="`mine.yaml` was saved in Latin-1.",
    )


CHAPTER = Chapter("experiment_file", "The experiment file", entries)
