"""Paths of a file are relative to the file, those of the command line to the working folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from datasets import registry
from search.experiment.load import load
from search.experiment.paths import experiment_yaml
from search.experiment.schema import ExperimentError, as_values
from search.run.folder import RunFolder, differences_from
from tests.support.tells import tells

MODULE = """
from dataclasses import dataclass
from pathlib import Path
@dataclass
class Clips:
    root: Path
    note: str = "as/written"
    other: Path | None = None
    def open(self):
        ...
"""
NAMES = iter(f"mine_{number}" for number in range(100))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Project with experiments in one folder; the working folder is another one."""
    for name in ("exp", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def module(project: Path) -> str:
    """Name of a module beside the experiment that no other test uses."""
    name = next(NAMES)
    (project / "exp" / f"{name}.py").write_text(MODULE)
    return name


def write(project: Path, *lines: str) -> Path:
    path = project / "exp" / "mine.yaml"
    path.write_text("\n".join(["name: x", *lines]))
    return path


TABLE = "dataset: {name: table, source: clips.csv, store: stores/x, video: path}"
DIGITS = "dataset: {name: digits}"
CASES = [  # lines of the file, dotted path, what it means below the file's folder
    ([TABLE], "dataset.source", "clips.csv"),
    ([TABLE], "dataset.store", "stores/x"),
    ([TABLE.replace("stores/x", "../x")], "dataset.store", "../x"),
    ([DIGITS, "trial: {weights: net.pt}"], "trial.weights", "net.pt"),
    (
        [DIGITS, "trial: {encoder: {audio: mlp, visual: mlp}, weights: {audio: a/b, visual: DEFAULT}}"],
        "trial.weights.audio",
        "a/b",
    ),
    ([DIGITS, "space: {weights: [null, net.pt], fusion: [sum]}"], "space.weights.1", "net.pt"),
    ([DIGITS, "space: {fusion: [sum]}", "search: {first: [{weights: net.pt}]}"], "search.first.0.weights", "net.pt"),
    ([DIGITS, "search: {storage: kept}"], "search.storage", "kept"),
    ([DIGITS, "search: {learn_from: [../runs/wide]}"], "search.learn_from.0", "../runs/wide"),
    ([DIGITS, "modules: [../lib]"], "modules.0", "../lib"),
]
KEPT = [  # neither is relative
    ([TABLE.replace("stores/x", "~/x")], "dataset.store", "~/x"),
    ([TABLE.replace("stores/x", "s3://bucket/x")], "dataset.store", "s3://bucket/x"),
    ([TABLE.replace("stores/x", "/x")], "dataset.store", "/x"),
    ([DIGITS, "trial: {weights: IMAGENET1K_V1}"], "trial.weights", "IMAGENET1K_V1"),
    ([DIGITS, "trial: {weights: ResNet18_Weights.DEFAULT}"], "trial.weights", "ResNet18_Weights.DEFAULT"),
    ([DIGITS, "search: {learn_from: [wide]}"], "search.learn_from.0", "wide"),
    ([DIGITS, "tracking: {uri: 'http://localhost:5000'}"], "tracking.uri", "http://localhost:5000"),
    ([DIGITS, "tracking: {uri: 'sqlite:////x.db'}"], "tracking.uri", "sqlite:////x.db"),
]


def value_at(values: object, path: str) -> object:
    for part in path.split("."):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


@pytest.mark.parametrize(("lines", "path", "below"), CASES, ids=lambda case: str(case)[:40])
def test_a_relative_path_starts_from_the_file(project, lines, path, below):
    values = as_values(load(write(project, *lines)))
    assert value_at(values, path) == str((project / "exp" / below).resolve())


@pytest.mark.parametrize(("lines", "path", "text"), KEPT, ids=lambda case: str(case)[:40])
def test_what_is_not_relative_is_kept(project, lines, path, text):
    assert value_at(as_values(load(write(project, *lines))), path) == text


def test_a_relative_sqlite_uri_starts_from_the_file(project):
    loaded = load(write(project, DIGITS, "tracking: {uri: 'sqlite:///m.db'}"))
    assert loaded.tracking.uri == f"sqlite:///{project}/exp/m.db"


def test_a_path_of_the_command_line_starts_from_the_working_folder(project):
    words = ["dataset.store=s", "trial.weights=w.pt", "modules=[m]", "search.storage=t"]
    values = as_values(load(write(project, TABLE, "search: {storage: kept}"), words))
    found = [value_at(values, word.partition("=")[0]) for word in words]
    assert found == [
        str(project / "here" / "s"),
        str(project / "here" / "w.pt"),
        [str(project / "here" / "m")],
        str(project / "here" / "t"),
    ]
    assert values["dataset"]["source"] == str(project / "exp" / "clips.csv")


def test_options_of_a_class_of_ones_own_are_paths_if_it_says_so(project, module):
    loaded = load(write(project, f"dataset: {{name: '{module}:Clips', root: data, note: a/b}}"))
    assert loaded.dataset["root"] == str(project / "exp" / "data")
    assert (loaded.dataset["note"], loaded.dataset["other"]) == ("a/b", None)


def test_a_class_of_ones_own_is_given_a_path(project, module):
    options = registry.options(load(write(project, f"dataset: {{name: '{module}:Clips', root: data}}")).dataset)
    assert options.root == project / "exp" / "data"


@pytest.mark.parametrize("lines", [lines for lines, *_ in CASES], ids=lambda lines: str(lines[-1])[:40])
def test_a_project_that_is_written_and_moved_means_the_same_files(project, monkeypatch, tmp_path_factory, lines):
    monkeypatch.chdir(project)
    loaded, place = load(write(project, *lines)), project / "runs" / "x" / "best.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(experiment_yaml(as_values(loaded), place))
    monkeypatch.chdir(project / "here")
    assert load(place) == loaded
    moved = tmp_path_factory.mktemp("elsewhere") / "project"
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    there = yaml.safe_load(str(as_values(load(moved / "runs" / "x" / "best.yaml"))).replace(str(moved), str(project)))
    assert there == yaml.safe_load(str(as_values(loaded)))


def test_a_file_elsewhere_holds_absolute_paths(project, tmp_path_factory):
    place = tmp_path_factory.mktemp("elsewhere") / "best.yaml"
    values = yaml.safe_load(experiment_yaml(as_values(load(write(project, TABLE))), place))
    assert values["dataset"]["store"] == str(project / "exp" / "stores" / "x")


def test_a_folder_behind_a_link_means_the_same_files(project, monkeypatch, tmp_path_factory):
    (project / "runs").symlink_to(tmp_path_factory.mktemp("scratch"))
    monkeypatch.chdir(project)
    loaded, place = load(write(project, TABLE)), project / "runs" / "best.yaml"
    place.write_text(experiment_yaml(as_values(loaded), place))
    assert load(place) == load(place.resolve()) == loaded


def test_a_copy_is_compared_by_the_files_that_it_means(project, monkeypatch):
    monkeypatch.chdir(project)
    loaded, place = load(write(project, TABLE)), project / "runs" / "experiment.yaml"
    place.parent.mkdir()
    place.write_text(experiment_yaml(as_values(loaded), place))
    assert differences_from(loaded, place) == []
    changed = load(write(project, TABLE.replace("stores/x", "y")))
    tells(differences_from(changed, place)[0], "dataset.store", "'exp/stores/x'", "'exp/y'")
    monkeypatch.chdir(project / "here")
    assert differences_from(loaded, place) == []


def test_copies_of_older_versions_hold_paths_relative_to_the_working_folder(project):
    values = as_values(load(write(project, TABLE))) | {"dataset": yaml.safe_load(TABLE)["dataset"]}
    del values["modules"]
    place = RunFolder(project / "exp").experiment
    place.write_text(yaml.safe_dump(values))
    assert load(place).dataset["store"] == str(project / "here" / "stores" / "x")


# ---- modules ----


def test_the_folder_of_a_module_is_written_down_and_searched_first(project, module, monkeypatch):
    loaded = load(write(project, f"dataset: {{name: '{module}:Clips', root: data}}"))
    assert loaded.modules == (str(project / "exp"),)
    place = project / "here" / "best.yaml"
    place.write_text(experiment_yaml(as_values(loaded), place))
    sys.modules.pop(module)
    (project / "here" / f"{module}.py").write_text("raise RuntimeError('the wrong one')")
    assert load(place) == loaded


def test_a_factory_is_found_without_an_import(project, module):
    (project / "exp" / f"{module}.py").write_text("raise RuntimeError('imported')")
    loaded = load(write(project, DIGITS, f"trial: {{encoder: '{module}:net'}}"))
    assert loaded.modules == (str(project / "exp"),)


@pytest.mark.parametrize("files", [["__init__.py"], []], ids=["package", "namespace"])
def test_a_package_of_ones_own_is_found_by_its_folder(project, files):
    package = project / "exp" / "lib" / (name := next(NAMES))
    package.mkdir(parents=True)
    for file in files:
        (package / file).touch()
    (package / "data.py").write_text(MODULE)
    lines = [f"dataset: {{name: '{name}.data:Clips', root: .}}", "modules: [lib]"]
    assert load(write(project, *lines)).modules == (str(project / "exp" / "lib"),)


@pytest.mark.parametrize("name", ["digits", "tests.support.own_data:Vectors"])
def test_folders_of_built_in_code_are_not_written_down(project, name):
    assert load(write(project, f"dataset: {{name: '{name}'}}")).modules == ()


def test_a_file_that_names_no_code_adds_no_folder_to_pythons_path(project):
    load(write(project, DIGITS, "modules: [lib]"))
    assert not {str(project / "exp"), str(project / "exp" / "lib")} & set(sys.path)


def test_a_missing_module_is_told_with_all_folders_that_were_searched(project):
    with pytest.raises(ExperimentError) as error:
        load(write(project, "dataset: {name: 'absent_one:Clips'}", "modules: [lib]"))
    folders = [str(project / folder) for folder in ("exp/lib", "exp", "here")]
    tells(error.value, "`dataset.name`", "absent_one", *folders, "installed packages")


def test_a_module_hidden_by_another_one_is_refused(project, module):
    path = write(project, f"dataset: {{name: '{module}:Clips', root: data}}")
    load(path)
    (other := project / "other").mkdir()
    shutil.copy(path, other)
    shutil.copy(project / "exp" / f"{module}.py", other)
    with pytest.raises(ExperimentError) as error:
        load(other / "mine.yaml")
    tells(error.value, module, other / f"{module}.py", project / "exp" / f"{module}.py")
