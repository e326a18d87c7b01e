"""Ways to compute unimodal logits, under each fusion: `python -m benchmarks.unimodal [--seeds 3] [--epochs 8]`.

The demo's configuration (small_conv, learning rate 0.03) is trained without modulation on the demo's data, with each
fusion and seed. Then the audio's discrepancy ratio on the validation samples is computed in three ways: with the other
modality at zero, from exact Shapley values of each sample (as in AGM, ICCV 2023), and with the other modality at its
mean, as in `ogmge.unimodal_logits`. The last ratio should be within a factor of 1.5 of the Shapley ratio and name the
same leading modality. Finally, the fused accuracy is compared between two trainings with OGM (alpha 0.3): with scores
computed with the other modality at zero, and at its mean.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from unittest import mock

import torch
from torch import Tensor

from ogmge import FeatureMeans, Modulation
from ogmge.config import TrialConfig
from ogmge.fit import BEST, Data, train
from ogmge.fusion import FUSIONS
from ogmge.inference import TrainedModel, load
from ogmge.modulation import score
from search.experiment.load import load as load_experiment
from search.run.open_data import open_data

ALPHA, RATE, WITHIN = 0.3, 0.03, 1.5


def at_zero(model: TrainedModel, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return f(x_u, 0) - f(0) / 2."""
    nothing = {name: torch.zeros_like(x) for name, x in features.items()}
    base = model.model.head(nothing) / 2
    return {name: model.model.head({**nothing, name: x}) - base for name, x in features.items()}


def shapley(model: TrainedModel, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return f(0) / 2 + [f(x_u, 0) - f(0) + f(x) - f(x_other, 0)] / 2 for each of two modalities and each sample."""
    head, nothing = model.model.head, {name: torch.zeros_like(x) for name, x in features.items()}
    single = {name: head({**nothing, name: x}) for name, x in features.items()}
    audio, visual = single
    both = head(dict(features))
    return {audio: (single[audio] + both - single[visual]) / 2, visual: (single[visual] + both - single[audio]) / 2}


def at_mean(model: TrainedModel, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return model.model.unimodal_logits(dict(features))


WAYS = {"at zero": at_zero, "Shapley": shapley, "ours": at_mean}


@torch.no_grad()
def ratios(model: TrainedModel, data: Data) -> dict[str, float]:
    """Return the audio's discrepancy ratio over the validation samples, for each way."""
    sums = {way: torch.zeros(2) for way in WAYS}
    for x, y in data.validation(batch_size=256):
        features = model.features(x)
        for way, logits in WAYS.items():
            sums[way] += score(list(logits(model, features).values()), y)
    return {way: float(total[0] / total[1]) for way, total in sums.items()}


def trained(config: TrialConfig, data: Data) -> TrainedModel:
    with tempfile.TemporaryDirectory() as folder:
        train(config, data, lambda metrics: None, folder=Path(folder))
        return load(Path(folder, BEST))


def accuracy(config: TrialConfig, data: Data, *, mean: bool) -> float:
    """Return the best validation accuracy. With `mean` false the means are not updated and stay at zero."""
    keep = mock.patch.object(FeatureMeans, "update", FeatureMeans.update if mean else lambda self, features: None)
    with keep:
        return trained(config, data).metrics["val/accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    demo = load_experiment(Path(__file__).parents[1] / "experiments" / "demo.yaml")
    data = open_data(demo.dataset)
    base = replace(demo.trial, epochs=arguments.epochs, optimizer=replace(demo.trial.optimizer, lr=RATE))
    ogm = Modulation(method="ogm", alpha=ALPHA, start=0, end=arguments.epochs - 1)
    print("fusion  seed  ratio at zero  Shapley   ours  within 1.5  accuracy: none  OGM at zero  OGM ours", flush=True)
    for fusion in FUSIONS:
        rows = []
        for seed in range(arguments.seeds):
            config = replace(base, fusion=fusion, seed=seed, modulation=Modulation(method="none"))
            plain = trained(config, data)
            found, modulated = ratios(plain, data), replace(config, modulation=ogm)
            off = found["ours"] / found["Shapley"]
            same = (found["ours"] > 1) == (found["Shapley"] > 1)
            verdict = "yes" if same and 1 / WITHIN <= off <= WITHIN else "NO"
            row = [plain.metrics["val/accuracy"], *(accuracy(modulated, data, mean=m) for m in (False, True))]
            rows.append(row)
            numbers = "  ".join(f"{100 * value:11.1f}" for value in row)
            print(
                f"{fusion:<7} {seed:>4}  {found['at zero']:13.2f}  {found['Shapley']:7.2f}  {found['ours']:5.2f}  "
                f"{verdict:>10}     {numbers}",
                flush=True,
            )
        print(
            f"{fusion:<7} mean{'':46}"
            + "  ".join(f"{100 * fmean(column):11.1f}" for column in zip(*rows, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
