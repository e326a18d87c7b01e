"""Cost of loading samples: `python -m benchmarks.loading [--clips 24] [--rounds 5]`.

Videos of 10 s, 340 x 256, H.264 + AAC, with moving textures and edges, are prepared into a store. A sample is 3 frames
cropped to 224 x 224 and a log spectrogram of 5 s of audio at 16 kHz. The ways to load it alternate, so that drift of
the machine affects all of them equally. Each runs on one thread and is measured in CPU time:

(a) the authors' way: `librosa.load`, librosa's STFT, three JPEGs through PIL and torchvision's v1 transforms;
(b) ours: only the host's part, as if a GPU did the rest; and everything on the CPU;
(c) the host's part in 4 processes that read the same store at the same time, with the memory of each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.index.clips import Clip, Index, Source, SplitName
from datasets.loader.decode import Draw
from datasets.loader.in_memory import order
from datasets.loader.loader import StoreData, open_store
from datasets.store.prepare import prepare
from datasets.store.settings import Audio, Frames
from datasets.store.store import Store
from tests.support import films

SETTINGS = {
    "audio": Audio(sample_rate_hz=16000, seconds=5, n_fft=256, hop=128),
    "visual": Frames(per_clip=10, count=3),
}
TRIALS, BATCH = 4, 64
CPU = torch.device("cpu")
COPIES = 4  # ids per video, so that batches are full, as in training


def scene(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw soft shapes, fine texture in places, and sharp strokes, as in a typical video frame.

    Encoded in a video and stored as JPEG, it takes about as many bytes as a real frame.
    """
    soft, fine = films.texture(height // 8, width // 8, rng), films.texture(height, width, rng).astype(float) - 128
    grown = torch.nn.functional.interpolate(
        torch.from_numpy(soft).permute(2, 0, 1)[None].float(), (height, width), mode="bicubic"
    )[0]
    rough = rng.random((4, 6)).repeat(-(-height // 4), axis=0).repeat(-(-width // 6), axis=1)[:height, :width, None]
    picture = grown.permute(1, 2, 0).numpy() + 0.5 * rough**2 * fine
    for top, left in rng.integers(0, (height - 16, width - 24), (30, 2)):
        picture[top : top + 12, left : left + 2] = picture[top : top + 2, left : left + 9] = rng.integers(0, 255)
    return np.clip(picture, 0, 255).astype(np.uint8)


def generate(folder: Path, clips: int) -> Index:
    """Write videos of 10 s in which a camera moves over a scene. Each is listed as several clips."""
    found = []
    for i in range(clips):
        path = folder / f"{i:04d}.mp4"
        whole = scene(300, 640, np.random.default_rng(i))
        pictures = [
            np.ascontiguousarray(whole[20 + round(20 * np.sin(k / 20)) :][:256, k:][:, :340]) for k in range(250)
        ]
        films.write(path, pictures, films.chirp(10.0, 44100), options={"preset": "veryfast"})
        sources = {"audio": Source("audio", (path,)), "visual": Source("video", (path,))}
        split: SplitName = "validation" if i == 0 else "train"
        found += [Clip(f"{path.stem}-{copy}", str(i % 2), split, None, sources) for copy in range(COPIES)]
    return Index(("0", "1"), tuple(found))


def as_the_authors_have_it(store: Store, folder: Path) -> list[tuple[Path, list[Path]]]:
    """Write the frames and audio of a store as files, one WAV and ten JPEGs per clip, and return their paths."""
    found = []
    for entry in store.entries():
        images = []
        for i, blob in enumerate(store.blobs(entry, "visual")):
            images.append(folder / entry.id / f"{i}.jpg")
            images[-1].parent.mkdir(parents=True, exist_ok=True)
            images[-1].write_bytes(blob)
        sound = folder / f"{entry.id}.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(store.blobs(entry, "audio")[0])
        found.append((sound, images))
    return found


def authors(files: Sequence[tuple[Path, list[Path]]]) -> Callable[[int], int]:
    """Return way (a): one sample after the other, as in a DataLoader's worker."""
    import librosa
    from PIL import Image
    from torchvision import transforms as v1

    seen = v1.Compose(
        [
            v1.RandomResizedCrop(224),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    rng = np.random.default_rng(0)

    def sample(sound: Path, images: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
        samples, rate = librosa.load(sound, sr=16000)
        begin = rng.integers(0, len(samples) - 5 * rate)
        part = np.clip(samples[begin : begin + 5 * rate], -1, 1)
        spectrogram = np.log(np.abs(librosa.stft(part, n_fft=256, hop_length=128)) + 1e-7)
        chosen = [images[i] for i in rng.choice(len(images), 3, replace=False)]
        frames = torch.stack([seen(Image.open(path).convert("RGB")) for path in chosen])
        return torch.from_numpy(spectrogram), frames

    def load(epoch: int) -> int:
        loaded = [sample(*files[i]) for i in rng.permutation(len(files))]
        torch.stack([a for a, _ in loaded])
        torch.stack([v for _, v in loaded])
        return len(loaded)

    return load


def host_part(data: StoreData) -> Callable[[int], int]:
    """Return way (b): one host thread's work if a GPU crops, mirrors, normalises and transforms."""
    host = replace(data.host, crops=False)

    def load(epoch: int) -> int:
        shuffled = [data.splits.train[i] for i in order(len(data.splits.train), 0, epoch).tolist()]
        return sum(len(host.share(task).y) for task in data.tasks(shuffled, BATCH, Draw(0, epoch)))

    return load


def everything(data: StoreData) -> Callable[[int], int]:
    return lambda epoch: sum(len(y) for _, y in data.train(batch_size=BATCH, seed=0, epoch=epoch))


def measure(ways: dict[str, Callable[[int], int]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return (samples per CPU second, samples per second) per way and round, after one warm-up round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, load in ways.items():
            began, cpu, samples = time.perf_counter(), time.process_time(), 0
            while time.process_time() - cpu < 1.0:
                samples += load(round_)
            if round_:
                found[name].append((samples / (time.process_time() - cpu), samples / (time.perf_counter() - began)))
    return found


def resident(folder: Path) -> dict[str, float]:
    """Return the RSS and PSS of this process and of the store that it maps, in MB."""
    rollup = dict(line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    of_store = {"Rss:": 0.0, "Pss:": 0.0}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name = line.split(maxsplit=1)[0]
        if not name.endswith(":"):
            inside = str(folder) in line
        elif inside and name in of_store:
            of_store[name] += float(line.split()[1])
    kilobytes = {"rss": float(rollup["Rss:"]), "pss": float(rollup["Pss:"])}
    kilobytes |= {"store_rss": of_store["Rss:"], "store_pss": of_store["Pss:"]}
    return {name: value / 1e3 for name, value in kilobytes.items()}


def trial(folder: Path, seconds: float, barrier: Barrier, results: Any) -> None:
    """Load samples for some time, at the same time as the other processes."""
    torch.set_num_threads(1)
    load = host_part(opened(folder, 1))
    load(0)
    barrier.wait()
    began, cpu, samples, epoch = time.perf_counter(), time.process_time(), 0, 0
    while time.perf_counter() - began < seconds:
        epoch += 1
        samples += load(epoch)
    spent = time.process_time() - cpu, time.perf_counter() - began
    barrier.wait()
    results.put((samples, *spent, resident(folder)))
    barrier.wait()


def trials(folder: Path, count: int, seconds: float) -> list[tuple[int, float, float, dict[str, float]]]:
    """Return samples, CPU seconds, seconds and memory for each of `count` processes."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    processes = [context.Process(target=trial, args=(folder, seconds, barrier, results)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def opened(folder: Path, workers: int, device: torch.device = CPU) -> StoreData:
    return open_store(str(folder), SETTINGS, held_out_fraction=None, split_seed=0, device=device, workers=workers)


def table(found: dict[str, list[tuple[float, float]]]) -> None:
    print(f"\n{'':40}{'samples per CPU s':>18}{'p10-p90':>16}{'over (a)':>10}")
    first = next(iter(found.values()))
    for name, rates in found.items():
        cpu = [rate for rate, _ in rates]
        deciles = statistics.quantiles(cpu, n=10, method="inclusive")
        ratio = statistics.median(mine / base for (mine, _), (base, _) in zip(rates, first, strict=True))
        print(f"{name:40}{statistics.median(cpu):18.0f}{f'{deciles[0]:.0f}-{deciles[-1]:.0f}':>16}{ratio:10.2f}")


def together(folder: Path, rounds: int) -> None:
    """Measure and print (c): one process and four, in alternation."""
    per_cpu, per_second, memory = [], [], []
    for _ in range(rounds):
        (one,), four = trials(folder, 1, 3.0), trials(folder, TRIALS, 3.0)
        samples, cpu = sum(t[0] for t in four), sum(t[1] for t in four)
        per_cpu.append((samples / cpu) / (one[0] / one[1]))
        per_second.append(sum(t[0] / t[2] for t in four) / (one[0] / one[2]))
        memory = [t[3] for t in four]
    rates = f"samples per CPU second {statistics.median(per_cpu):.2f}, per second {statistics.median(per_second):.2f}"
    print(f"\n(c) {TRIALS} processes with one thread each, relative to one such process, median of {rounds}: {rates}")
    store = sum(path.stat().st_size for path in folder.glob("*.arrow")) / 1e6
    mapped, held = (sum(m[name] for m in memory) for name in ("store_rss", "store_pss"))
    print(f"    store: {store:.0f} MB; mapped: {mapped:.0f} MB; held (PSS): {held:.0f} MB, {held / store:.2f} copies")
    print("    PSS of each process:", ", ".join(f"{m['pss']:.0f} MB" for m in memory))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="videos to generate, each listed as 4 clips (24)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way (5)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = generate(folder / "films", given.clips)
        began, cpu = time.perf_counter(), time.process_time()
        prepare("films", index, SETTINGS, folder / "store", parallel=map)
        spent = time.process_time() - cpu
        store = Store(folder / "store")
        clips = len(index.clips)
        size = sum(path.stat().st_size for path in store.folder.glob("*.arrow")) / clips / 1e3
        per_second = clips / (time.perf_counter() - began)
        print(f"prepare, one process: {clips / spent:.1f} clips per CPU second, {per_second:.1f} per second")
        print(f"a stored clip: {size:.0f} kB")
        data = opened(store.folder, 1)
        files = as_the_authors_have_it(store, folder / "authors")
        ways = {
            "(a) the authors' way": authors(files),
            "(b) ours, the host's part": host_part(data),
            "    ours, everything on the CPU": everything(data),
        }
        table(measure(ways, given.rounds))
        together(store.folder, max(1, given.rounds // 2))


if __name__ == "__main__":
    main()
