"""Options of the authors' code, and their keys here: what somebody who pastes their command line is told."""

from __future__ import annotations

from collections.abc import Sequence

FLAGS = {
    "--dataset": "dataset.name",
    "--modulation": "trial.modulation.method",
    "--alpha": "trial.modulation.alpha",
    "--modulation_starts": "trial.modulation.start",
    "--modulation_ends": "trial.modulation.end",
    "--fusion_method": "trial.fusion",
    "--batch_size": "trial.batch_size",
    "--epochs": "trial.epochs",
    "--learning_rate": "trial.optimizer.lr",
    "--lr_decay_step": "trial.schedule.milestones",
    "--lr_decay_ratio": "trial.schedule.gamma",
    "--optimizer": "trial.optimizer.name",
    "--fps": "dataset.stored_frames",
    "--use_video_frames": "dataset.frames",
    "--audio_path": "dataset.source",
    "--visual_path": "dataset.source",
    "--random_seed": "trial.seed",
    "--train": None,
    "--ckpt_path": "search.storage",
    "--use_tensorboard": None,
    "--tensorboard_path": None,
    "--gpu_ids": "search.resources.gpu",
}


def explain(words: Sequence[str], options: Sequence[str]) -> str:
    """Return what to write instead of the authors' options among the words of a command line; empty without any.

    Args:
        words: words of the command line.
        options: options that the command has itself.
    """
    flags = [flag for flag in (word.partition("=")[0] for word in words) if flag in FLAGS and flag not in options]
    if not flags:
        return ""
    said = [f"{flag} is {f'the key `{key}`' if (key := FLAGS[flag]) else 'not needed'}" for flag in flags]
    return (
        f"options of the authors' code are keys of the experiment file here: {', '.join(dict.fromkeys(said))}. Write "
        "them into the file, or as KEY=VALUE after it, such as trial.modulation.alpha=0.8; see docs/authors_flags.md."
    )
