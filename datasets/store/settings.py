"""How each modality of a data set is stored, and which part of what is stored a model sees."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

# Bounds of numbers, for their fields' metadata, as JSON Schema names them: the reference of all keys reads them there.
COUNT = {"minimum": 1}
LENGTH = {"exclusiveMinimum": 0}
SHARE = {"minimum": 0, "maximum": 1}
PART = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}

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
    """A sentence for each number of a dataclass that is out of its field's bounds; it begins with the field's name."""
    for its in fields(options):
        value = getattr(options, its.name)
        if value is not None and not all(_COMPARISONS[name][0](value, at) for name, at in its.metadata.items()):
            yield f"`{its.name}` must be {_words(its.metadata)}, but got {value}"


def check_bounds(options: Any) -> None:
    """
    Raises:
        ValueError: naming every number that is out of its bounds.
    """
    if wrong := "; ".join(out_of_bounds(options)):
        raise ValueError(wrong)


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

    sample_rate_hz: int = field(metadata=COUNT)
    seconds: float = field(metadata=LENGTH)
    n_fft: int = field(metadata=COUNT)
    hop: int = field(metadata=COUNT)
    stored_seconds: float = field(default=10.0, metadata=LENGTH)
    tile: bool = False
    feature: Literal["log_spectrogram", "mel_filter_bank"] = "log_spectrogram"

    def __post_init__(self) -> None:
        check_bounds(self)


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
