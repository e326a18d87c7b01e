"""All chapters, in the order in which a user meets them."""

from __future__ import annotations

from tests.wording import command_line, data, experiment_file, help_texts, machines, models, runs, screens, verdicts

CHAPTERS = [
    experiment_file.CHAPTER,
    command_line.CHAPTER,
    data.CHAPTER,
    models.CHAPTER,
    runs.CHAPTER,
    machines.CHAPTER,
    verdicts.CHAPTER,
    screens.CHAPTER,
    help_texts.CHAPTER,
]
