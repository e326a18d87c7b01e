"""What the options of all film data sets have in common, checked in one place."""

from __future__ import annotations


def refuse(*, frames: int, stored_frames: int, max_quarantined: float, validation_fraction: float | None) -> None:
    """
    Raises:
        ValueError: naming every option that cannot be.
    """
    wrong = []
    if frames < 1:
        wrong.append(f"`frames` must be at least 1, but got {frames}")
    if stored_frames < frames:
        wrong.append(f"`stored_frames` must be at least `frames`, but got {stored_frames} < {frames}")
    if not 0 <= max_quarantined <= 1:
        wrong.append(f"`max_quarantined` must be a share from 0 to 1, but got {max_quarantined}")
    if validation_fraction is not None and not 0 < validation_fraction < 1:
        wrong.append(f"`validation_fraction` must be between 0 and 1, but got {validation_fraction}")
    if wrong:
        raise ValueError("; ".join(wrong))
