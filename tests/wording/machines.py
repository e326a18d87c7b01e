"""Errors with processors, clusters and budgets, and messages about packing and stopping trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ogmge.config import TrialConfig
from search.backend.autopack import FULL, NO_GPU
from search.backend.cluster import ray_for
from search.backend.limits import open_files_fault
from search.backend.node_check import ClusterError
from search.backend.private_ray import private_folder
from search.backend.ray_start import start_with_retry
from search.backend.resources import Peak, Resources, trials_at_once, trials_on_gpu
from search.backend.step_cost import Cost
from search.backend.throughput import Measurement, Packing, format_packings, on_a_gpu, on_cpus
from search.dry_run.forecast import Forecast
from search.dry_run.prefix_savings import PrefixSavings
from search.experiment.schema import Budget
from search.experiment.sources import Source
from search.run.budget import Spent, stop_reason
from search.tracking.client import connect
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.median import Median
from search.tuner.pruners.peers import LearningCurve
from tests.wording.catalogue import Chapter, Entry, commanded, drawn
from tests.wording.laid_out import SEARCH, experiment

PLAN = "run_search.py mine.yaml --dry-run"
UNREACHABLE = "127.0.0.1:1"

# ---- resources that a machine or a cluster lacks ----

LINES: list[tuple[str, str]] = [
    ("More cores than available", f"{PLAN} search.resources.cpu=64"),
    ("A GPU on a machine without one", f"{PLAN} search.resources.gpu=0.5"),
    ("A cluster that does not answer", f"{PLAN} search.address={UNREACHABLE}"),
    ("`search.address=auto` outside a job", f"{PLAN} search.address=auto"),
]
NODES: Sequence[dict[str, float]] = [{"CPU": 16.0}, {"CPU": 2.0, "GPU": 1.0}]


def no_node(*_: object) -> None:
    trials_at_once(Resources(8, 0.5), NODES, "the cluster")


def too_large(*_: object) -> None:
    trials_on_gpu(Peak("encoder=torchvision:vit_l_16 batch_size=256", 31_000_000_000, 24_000_000_000), 4)


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("the size of tensor a (512) must match the size of tensor b (256)")


def no_storage(*_: object, **__: object) -> None:
    with ray_for(experiment(SEARCH), {}, {"search.storage": "mine.yaml/checkpoints"}):
        pass


def little_address_space(*_: object) -> tuple[int, int]:
    return 2_048_000_000, 2_048_000_000


def few_files(*_: object, **__: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resource.getrlimit", lambda _: (256, 256))
        raise ClusterError(open_files_fault())


def ray_fails(*_: object, **__: object) -> None:
    def start() -> None:
        raise RuntimeError("The current node timed out during startup.")

    start_with_retry(start)


def no_temporary_folder(*_: object, **__: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", "/scratch/jobs/1234567/tmp")
        patch.setattr("search.backend.private_ray.SHORT", ("/proc",))
        private_folder.__wrapped__()


def no_mlflow(*_: object, **__: object) -> None:
    connect(f"http://{UNREACHABLE}", Path("runs"), "demo")


def no_folder(*_: object, **__: object) -> None:
    connect("sqlite:////data/mlflow.db", Path("runs"), "demo")


MACHINES: list[tuple[str, str, str, str, Callable[..., object]]] = [
    (
        "Cores and a GPU that no single node has",
        f"{PLAN} search.resources.cpu=8 search.resources.gpu=0.5",
        "One node of the cluster has 16 CPUs, the other has 2 CPUs and a GPU.",
        "search.commands.estimate.forecast",
        no_node,
    ),
    (
        "A model too large for the GPU",
        f"{PLAN} search.resources.gpu=auto",
        "The GPU has 24 GB; the model needs 31 GB.",
        "search.commands.estimate.forecast",
        too_large,
    ),
    ("A trial fails in its first steps", PLAN, "", "ogmge.fit.train", fails),
    (
        "A storage that cannot be written to",
        "run_search.py mine.yaml search.storage=mine.yaml/checkpoints",
        "",
        "search.commands.search.search",
        no_storage,
    ),
    (
        "MLflow does not answer",
        f"run_search.py mine.yaml tracking.uri=http://{UNREACHABLE}",
        "",
        "search.commands.search.search",
        no_mlflow,
    ),
    (
        "Too little address space",
        "python -m search check mine.yaml",
        "The shell has run `ulimit -v 2000000`.",
        "resource.getrlimit",
        little_address_space,
    ),
    (
        "Too few open files for Ray",
        "run_search.py mine.yaml",
        "The shell has run `ulimit -n 256`.",
        "search.commands.search.search",
        few_files,
    ),
    ("Ray does not start", "run_search.py mine.yaml", "", "search.commands.search.search", ray_fails),
    (
        "No folder for Ray's temporary files",
        "run_search.py mine.yaml",
        "TMPDIR is long, and no other place is writable.",
        "search.commands.search.search",
        no_temporary_folder,
    ),
    (
        "A database in a folder that does not exist",
        "run_search.py mine.yaml tracking.uri=sqlite:////data/mlflow.db",
        "",
        "search.commands.search.search",
        no_folder,
    ),
]

# ---- dry runs ----

COST = Cost(16, 5, 2.5, 1_200_000_000, 20_000_000, 10_000_000, 15, TrialConfig())
FORECAST = Forecast(
    trials={"baseline": 12, "modulated": 12},
    sources={Source.RECIPE: 2, Source.OTHER_ARM: 9, Source.SAMPLER: 13},
    epochs_at_most=288,
    epochs_expected=221.0,
    at_once=2,
    cpus=2.0,
    gpu=0.0,
    costs={"fusion=concat": COST, "fusion=gated": replace(COST, epoch_seconds=4.0)},
    artifacts=True,
    savings=PrefixSavings(0.1, 3),
    prefix_bytes_at_most=20e9,
)
MEASURED = "4 trials at a time, with 1 core each: 3.1 times the epochs per hour of one; that is one per core"
PLANS: list[tuple[str, str, Forecast]] = [
    ("A dry run", "search.budget.hours=2", FORECAST),
    (
        "A dry run with a confirmation and a measured packing",
        "confirm.seeds=6 search.resources.cpu=auto",
        replace(FORECAST, confirmation=(18, 12), longest=12, crowding=1.25, note=MEASURED),
    ),
    (
        "A dry run without shared prefixes",
        "search.scheduler.name=none",
        replace(FORECAST, savings=PrefixSavings(prevented_by=("optimizer.lr",)), artifacts=False),
    ),
    (
        "A dry run with few shared prefixes",
        "",
        replace(FORECAST, savings=PrefixSavings(0.1, 3, limited_by=("modulation.alpha", "modulation.start"))),
    ),
]

# ---- packing ----

GPU_PACKINGS, CPU_PACKINGS = on_a_gpu("auto", 8, 8), on_cpus(4)
LIMIT = "limited by memory: the heaviest configuration (fusion=gated) takes 5.1 of the GPU's 24.0 GB"


def packed(packings: Sequence[Packing], *rates: float | None) -> list[Measurement]:
    return [Measurement(packing, rate) for packing, rate in zip(packings, rates, strict=False)]


PACKED: list[tuple[str, str, str]] = [
    (
        "One trial per GPU",
        "Two trials together train fewer epochs per hour than one.",
        format_packings(packed(GPU_PACKINGS, 100, 90), LIMIT),
    ),
    (
        "Several trials per GPU",
        "Four trials together train the most epochs per hour.",
        format_packings(packed(GPU_PACKINGS, 100, 190, 310, 300), LIMIT),
    ),
    (
        "A GPU on which four trials do not fit",
        "Four trials together fail.",
        format_packings(packed(GPU_PACKINGS, 100, 190, None), LIMIT),
    ),
    (
        "A full GPU",
        "The memory is enough for two trials.",
        format_packings(packed(GPU_PACKINGS[:2], 100, 190), LIMIT),
    ),
    (
        "One trial on all cores",
        "Two trials together train fewer epochs per hour.",
        format_packings(packed(CPU_PACKINGS, 100, 90), FULL),
    ),
    (
        "One trial per core",
        "More trials train more epochs per hour.",
        format_packings(packed(CPU_PACKINGS, 100, 150, 240), FULL),
    ),
    ("`gpu: auto` on a machine without a GPU", "The trials train on CPUs.", NO_GPU),
]

# ---- why a trial, or a search, stops ----

OTHERS = [LearningCurve(number, "baseline", None, [0.5 + number / 20] * 9) for number in range(1, 6)]
MODULATED = [LearningCurve(number, "modulated", number % 2, [0.5 + number / 20] * 9) for number in range(6, 11)]
ASHA, MEDIAN = Asha([3, 9], 3, "max"), Median(3, "max")


def stopped(rule: Asha | Median, run: LearningCurve) -> str:
    return str(rule.decide(run, [run, *OTHERS, *MODULATED]))


BASELINE, OPEN, CLOSED = (
    LearningCurve(0, "baseline", None, [0.1] * 3),
    LearningCurve(0, "modulated", 0, [0.1] * 3),
    LearningCurve(0, "modulated", 9, [0.1] * 3),
)
BUDGET, ASIDE = Budget(hours=2, gpu_hours=1, epochs=100), Spent(wall_seconds=1800.0, gpu_seconds=900.0, epochs=20)
REASONS: list[tuple[str, str, str | None]] = [
    ("ASHA stops a baseline trial", "After three epochs it is the worst of six.", stopped(ASHA, BASELINE)),
    ("ASHA stops a modulated trial", "Its window is open. After three epochs it is the worst.", stopped(ASHA, OPEN)),
    ("ASHA stops a trial before its window opens", "After three epochs it is the worst.", stopped(ASHA, CLOSED)),
    ("The median rule stops a trial", "It is worse than the median.", stopped(MEDIAN, BASELINE)),
    (
        "The hours of the budget are spent",
        "The budget is two hours.",
        str(stop_reason(BUDGET, Spent(wall_seconds=7200.0))),
    ),
    (
        "The GPU-hour of the budget is spent",
        "The budget is one GPU-hour.",
        str(stop_reason(BUDGET, Spent(gpu_seconds=3600.0))),
    ),
    (
        "The epochs of the budget are spent, except for the confirmation's",
        "The budget is 100 epochs, 20 of them for the confirmation.",
        str(stop_reason(BUDGET, Spent(epochs=80), ASIDE)),
    ),
]


def entries() -> Iterator[Entry]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.commands.estimate.own_cpus", lambda: 2)
        patch.setattr("torch.cuda.device_count", lambda: 0)
        for title, line in LINES:
            yield commanded(title, line, file=SEARCH, given="The machine has 2 CPUs and no GPU.")
    for title, line, given, name, call in MACHINES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(name, call)
            yield commanded(title, line, file=SEARCH, given=given)
    for title, words, forecast in PLANS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.commands.estimate.forecast", lambda *_, found=forecast: found)
            yield commanded(title, f"{PLAN} {words}".rstrip(), file=SEARCH, given="The steps have been measured.")
    for title, given, text in [*PACKED, *REASONS]:
        yield drawn(title, given, str(text))


CHAPTER = Chapter("machines", "Machines, budgets, and why a trial stops", entries)
