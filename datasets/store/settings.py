"""How each modality of a data set is stored, and which part of what is stored a model sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal


def _check_positive(settings: object, *names: str) -> None:
    wrong = [f"`{n}` must be more than 0, but got {getattr(settings, n)}" for n in names if getattr(settings, n) <= 0]
    if wrong:
        raise ValueError("; ".join(wrong))


@dataclass(frozen=True)
class Frames:
    """A modality of images: colour JPEGs of `video` and `images` sources, grey ones of `flow` (u0 v0 u1 v1 …).

    Args:
        per_clip: frames stored of each clip, evenly spaced over it (all of them where it has fewer); of flow, pairs.
        short_side: pixels of a stored frame's shorter side; smaller frames stay as they are.
        quality: of the stored JPEGs, 1 to 100.
        crop: pixels a side of what the model sees.
        count: frames that the model sees of each clip (T).
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    per_clip: int = 10
    short_side: int = 256
    quality: int = 90
    crop: int = 224
    count: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, "per_clip", "short_side", "quality", "crop", "count")
        if self.quality > 100:
            raise ValueError(f"`quality` must be at most 100, but got {self.quality}")
        if self.count > self.per_clip:
            raise ValueError(f"`count` must be at most `per_clip`, but got {self.count} > {self.per_clip}")


@dataclass(frozen=True)
class Audio:
    """A modality of audio: mono samples of 16 bits are stored, and features are made of a crop of them.

    Args:
        sample_rate_hz: of what is stored; the files' audio is resampled to it.
        seconds: of the crop that the model sees.
        n_fft: window length in samples.
        hop: step from window to window in samples.
        stored_seconds: longest that is kept of a clip, from its begin.
        tile: repeat a short signal up to `seconds` and take the first of it (CREMA-D); else it is padded with zeros.
        feature: what the model sees.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    sample_rate_hz: int
    seconds: float
    n_fft: int
    hop: int
    stored_seconds: float = 10.0
    tile: bool = False
    feature: Literal["log_spectrogram", "mel_filter_bank"] = "log_spectrogram"

    def __post_init__(self) -> None:
        _check_positive(self, "sample_rate_hz", "seconds", "n_fft", "hop", "stored_seconds")


Settings = Mapping[str, Frames | Audio]  # modality -> how it is stored and shown, in the order that models follow


def stored_settings(settings: Settings) -> dict[str, dict[str, object]]:
    """Of each modality what decides the bytes of a store; what only the model's view depends on is omitted.

    >>> stored_settings({"audio": Audio(sample_rate_hz=16000, seconds=5, n_fft=256, hop=128)})
    {'audio': {'kind': 'audio', 'sample_rate_hz': 16000, 'stored_seconds': 10.0}}
    """
    found: dict[str, dict[str, object]] = {}
    for modality, how in settings.items():
        if isinstance(how, Audio):
            stored = {"sample_rate_hz": how.sample_rate_hz, "stored_seconds": float(how.stored_seconds)}
            found[modality] = {"kind": "audio", **stored}
        else:
            found[modality] = {
                "kind": "frames", "per_clip": how.per_clip, "short_side": how.short_side, "quality": how.quality
            }  # fmt: skip
    return found
