"""Names of modalities, which become names of modules and of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from ogmge.config import ConfigError, TrialConfig
from ogmge.model import NAME_LENGTH, build_model
from tests.support.tells import tells

MLP = TrialConfig(encoder="mlp")


@pytest.mark.parametrize(
    "name",
    ["rgb+flow", "audio (left)", "50%", "été 漢字", "it's", 'a "b"', "-x", "a:b", "x" * NAME_LENGTH, "\U0001f3a7" * 60],
)
def test_a_name_that_modules_and_folders_can_have_is_accepted(tmp_path: Path, name):
    model = build_model(MLP, {name: (4,), "other": (3,)}, 2)
    assert any(key.startswith(f"encoders.{name}.") for key in model.state_dict())
    (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a.b",
        "../x",
        "a/b",
        "/tmp",
        "a\nb",
        "a\0b",
        "\udce9",
        "x" * 61,
        "forward",
        "type",
        "items",
        "training",
    ],
    ids=ascii,
)
def test_any_other_name_is_refused(name):
    with pytest.raises(ConfigError) as error:
        build_model(MLP, {"other": (3,), name: (4,)}, 2)
    [problem] = error.value.problems
    assert (problem.path, problem.got) == ("modalities", [name])
    tells(problem.expected, NAME_LENGTH, "`.`", "`/`")
