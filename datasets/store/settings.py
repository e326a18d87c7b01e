"""Settings of each modality: how it is stored, and what a model sees of it."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

# Bounds of numbers for the metadata of fields, named as in JSON Schema; the reference of all keys reads them.
COUNT = {"minimum": 1}
LENGTH = {"exclusiveMinimum": 0}
SHARE = {"minimum": 0, "maximum": 1}
PART = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
LEVEL = {"exclusiveMaximum": 0}

_COMPARISONS = {
    "minimum": (operator.ge, "at least"),
    "exclusiveMinimum": (operator.gt, "above"),
    "maximum": (operator.le, "at most"),
    "exclusiveMaximum": (operator.lt, "below"),
}


def _words(bounds: Mapping[str, float]) -> str:
    if bounds.keys() == SHARE.keys():
        return "from {minimum} to {maximum}".format(**bounds)
    return " and ".join(f"{_COMPARISONS[name][1]} {bound}" for name, bound in bounds.items())


def out_of_bounds(options: Any) -> Iterator[str]:
    """Yield a sentence for each number of a dataclass that is out of bounds, which begins with the field's name."""
    for its in fields(options):
        value = getattr(options, its.name)
        if value is not None and not all(_COMPARISONS[name][0](value, at) for name, at in its.metadata.items()):
            yield f"`{its.name}` must be {_words(its.metadata)}, but got {value}"


def check_bounds(options: Any) -> None:
    """Check the bounds of a dataclass's numbers.

    Raises:
        ValueError: if numbers are out of bounds; the message names all of them.
    """
    if wrong := "; ".join(out_of_bounds(options)):
        raise ValueError(wrong)


@dataclass(frozen=True)
class Frames:
    """Settings of images: colour JPEGs of `video` and `images` sources, grey ones of `flow` (u0 v0 u1 v1 …).

    Args:
        per_clip: number of frames (of flow: pairs) stored of each clip, evenly spaced; all of them if it has fewer.
        short_side: pixels of a stored frame's shorter side; smaller frames are not enlarged.
        quality: quality of the stored JPEGs, 1 to 100.
        crop: pixels per side of the square that the model sees.
        count: number of frames that the model sees of each clip (T).
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    per_clip: int = field(default=10, metadata=COUNT)
    short_side: int = field(default=256, metadata=COUNT)
    quality: int = field(default=90, metadata={"minimum": 1, "maximum": 100})
    crop: int = field(default=224, metadata=COUNT)
    count: int = field(default=1, metadata=COUNT)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.count > self.per_clip:
            raise ValueError(f"`count` must be at most `per_clip`, but got {self.count} > {self.per_clip}")


@dataclass(frozen=True)
class Audio:
    """Settings of audio: mono samples of 16 bits are stored, and features are computed from a crop of them.

    Args:
        sample_rate_hz: sample rate of the stored audio; audio files are resampled to it.
        seconds: length of the crop that the model sees.
        n_fft: window length in samples.
        hop: step between windows in samples.
        stored_seconds: maximum length stored of a clip, from its begin.
        tile: whether to repeat a short clip until `seconds`, and to take the first `seconds` of any clip (CREMA-D);
            else short clips are padded with silence.
        feature: representation that the model sees.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    sample_rate_hz: int = field(metadata=COUNT)
    seconds: float = field(metadata=LENGTH)
    n_fft: int = field(metadata=COUNT)
    hop: int = field(metadata=COUNT)
    stored_seconds: float = field(default=10.0, metadata=LENGTH)
    tile: bool = False
    feature: Literal["log_spectrogram", "mel_filter_bank"] = "log_spectrogram"

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True)
class Limits:
    """Limits of a preparation. A clip that exceeds one of its own is quarantined; `Audio` limits the length of audio.

    Args:
        max_megapixels: largest size of an image or a video frame, in millions of pixels.
        clip_timeout_s: longest time that decoding a clip may take, in seconds.
        max_quarantined: largest share of the clips that may be unusable.
        silence_dbfs: highest level at which audio counts as silent, in dB relative to full scale; None never does.
    """

    max_megapixels: float = 100.0
    clip_timeout_s: float = 600.0
    max_quarantined: float = 0.05
    silence_dbfs: float | None = -80.0  # three steps of 16 bits: what is below is rounding noise

    @property
    def max_pixels(self) -> int:
        """Size of an image or a video frame, in pixels."""
        return round(min(self.max_megapixels * 1e6, 2**31 - 1))


DEFAULT_LIMITS = Limits()

Settings = Mapping[str, Frames | Audio]  # modality -> its settings, in the order that models follow


def stored_settings(settings: Settings) -> dict[str, dict[str, object]]:
    """Return the settings of each modality that determine the bytes of a store, without those of the model's view.

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
