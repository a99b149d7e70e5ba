"""Settings: presets, overrides, origins, and one clear line for every error."""

from __future__ import annotations

import ast
import os
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

import vidpred
from data_prep.command import find_set
from vidpred.commands.app import app
from vidpred.config import (
    Config,
    describe,
    explain,
    find_preset,
    load_config,
    load_with_origins,
    preset_folder,
    to_yaml,
)
from vidpred.config.explain import explain_section
from vidpred.errors import ConfigError
from vidpred.models.build import GENERATORS
from vidpred.run import plan
from vidpred.settings import flatten, parse_yaml
from vidpred.settings.overrides import parse_settings

PRESETS = sorted(file.name for file in preset_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(config))
    assert load_config(copy) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_open_with_command_hardware_time_and_score(name: str) -> None:
    head = [line for line in find_preset(name).read_text().splitlines() if line.startswith("#")]
    for word in ("command:", "hardware:", "time:", "score:"):
        assert any(word in line for line in head), f"{name} does not open with its {word}"


@pytest.mark.parametrize("name", PRESETS)
def test_commands_of_presets_exist_and_prepare_their_data(name: str) -> None:
    data, head = load_config(name).data, re.sub(r"\\\n#\s*", "", find_preset(name).read_text())
    for line in re.findall(r"^#.*?\bvidpred ([a-z].*)", head, re.MULTILINE):
        verb, *words = shlex.split(line.partition("(")[0])
        command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
        command.make_parser(command.context_class(command)).parse_args([*words])  # raises for unknown options
        paths = [word for word in words if "=" not in word and not word.startswith("-")]
        if verb in ("record", "prepare") and data.root in paths:
            settings = [word for word in words if "=" in word]
            kind = find_set(words[0]) if verb == "prepare" else None
            if kind is not None and (not kind.keeps_videos or "--cache" in words):
                assert data.size in (None, parse_settings(kind, settings, {"source": paths[1]}, "").size)
        elif verb in ("record", "prepare"):
            assert f"--data {paths[-1]}" in head, f"{line}: data.root is {data.root}"


def test_stable_keys() -> None:
    keys = load_with_origins(None).origins
    for key in (
        "seed", "run", "data.root", "data.context_frames", "data.pred_frames", "data.frame_skip", "data.num_workers",
        "training.steps", "training.batch_size", "checkpoint.every",
    ):  # fmt: skip
        assert key in keys


def test_origins(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 4\ntraining:\n  steps: 7\n")
    loaded = load_with_origins(file, ["training.batch_size=3"])
    assert loaded.origins["seed"] == "mine.yaml:1"
    assert loaded.origins["training.steps"] == "mine.yaml:3"
    assert loaded.origins["training.batch_size"] == "command line"
    assert loaded.origins["data.size"] == "default"
    assert "training.steps: 7" in describe(loaded)
    assert (loaded.config.seed, loaded.config.training.steps, loaded.config.training.batch_size) == (4, 7, 3)


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as a string, and settings have many such numbers."""
    file = tmp_path / "mine.yaml"
    file.write_text("training:\n  generator: {learning_rate: 1e-4}\n")
    assert load_config(file).training.generator.learning_rate == 1e-4
    assert load_config(None, ["training.generator.learning_rate=2e-4"]).training.generator.learning_rate == 2e-4


def test_overrides_as_a_mapping() -> None:
    assert load_config("tiny.yaml", {"data.root": "clips", "seed": 3}).data.root == "clips"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainng: {steps: 3}", ["[trainng.steps]", "mine.yaml:1", "did you mean training.steps?"]),
        ("data:\n  sise: 3", ["[data.sise]", "mine.yaml:2", "did you mean data.size?"]),
        ("data:\n  steps: 3", ["[data.steps]", "mine.yaml:2", "did you mean training.steps?"]),
        ("seed: 1\nseed: 2", ["duplicate key 'seed'", "mine.yaml:2"]),
        ("training: {steps: many}", ["[training.steps]", "integer", "'many'", "mine.yaml:1"]),
        ("training: {steps: -1}", ["[training.steps]", "greater than or equal to 1", "mine.yaml:1"]),
        ("training: {batch_size: 2.5}", ["[training.batch_size]", "integer"]),
        ("training: 3", ["[training]", "mine.yaml:1"]),
        ("- a list", ["mapping", "mine.yaml"]),
        ("a:\n\t- tab", ["mine.yaml:2"]),
        ("run: !!python/object:os.system {}", ["mine.yaml:1"]),
        ("objective: {lp_weight: 0, gdl_weight: 0}", ["all weights are 0"]),
        ("objective: {adversarial: {weight: 1}}\ndata: {crop_size: null}", ["data.crop_size"]),
    ],
)
def test_mistakes_are_one_clear_line(text: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_adversary_on_whole_frames_of_the_world_is_refused() -> None:
    overrides = ["data.size=64", "data.crop_size=32", "objective.adversarial.weight=0.1", "discriminator.size=strided"]
    with pytest.raises(ConfigError, match=r"\[data.crop_size=32\].* set data.crop_size=64 or data.root"):
        plan(load_config(None, overrides))
    plan(load_config(None, [*overrides, "data.crop_size=64"]))


def test_unknown_presets_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"ufc101\.yaml\]; did you mean ucf101\.yaml"):
        load_config("ufc101.yaml")


@pytest.mark.parametrize("override", ["training.steps", "nothing.here=1", "training.steps=[1"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.root=clips #1", "clips #1"),
        ("data.root=2024", "2024"),
        ("data.root=a: b", "a: b"),
        ("data.root='clips #1'", "clips #1"),
        ('data.root="/data/x"', "/data/x"),
        ("data.root=~", os.path.expanduser("~")),
        ("data.root=null", None),
        ("data.root=it's", "it's"),
        ("data.root=[a", "[a"),
    ],
)
def test_paths_are_taken_literally(override: str, value: str | None) -> None:
    assert load_config(None, ["data.root=before", override]).data.root == value


@pytest.mark.parametrize("name", ["1e-4", "1.e5", "-.5e3", "0o17", "0X1f", "1_0", "12:30", "null", "yes", "=", "a: b"])
def test_a_stored_config_is_read_as_it_was(name: str) -> None:
    """Runs of a sweep are named after learning rates, for example; YAML 1.1 and these configs differ in numbers."""
    config = load_config(None, [f"data.split_file='{name}'", f"run=./{name}", "training.generator.learning_rate=1e-7"])
    config = config.model_copy(update={"run": name})
    assert Config.model_validate(parse_yaml(to_yaml(config))) == config


def test_the_adversary_is_balanced_with_any_other_loss_of_the_images() -> None:
    entropy = {"objective.lp_weight": 0.0, "objective.gdl_weight": 0.0, "objective.adversarial.balanced": True,
               "objective.adversarial.weight": 1.0}  # fmt: skip
    assert load_config(None, {**entropy, "objective.pixel_entropy_weight": 1.0}).objective.adversary.balanced
    with pytest.raises(ConfigError, match=r"adversarial\.balanced: there is no other loss"):
        load_config(None, entropy)


@pytest.mark.parametrize("key", ["run", "training.init_from", "data.split_file"])
def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Shells replace it only where a word begins with it, and YAML never."""
    monkeypatch.setenv("HOME", "/home/me")
    for overrides in ({key: "~/here"}, [f"{key}=~/here"]):
        config = load_config(None, overrides)
        assert dict(flatten(config.model_dump()))[key] == "/home/me/here"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.root=", ["[data.root=]", "write data.root=null"]),
        ("data.size= ", ["an empty value", "write data.size=null"]),
        ("data={size: 64, zzz: 3}", ["[data.zzz]", "command line"]),
        ("training={generator: {rate: 3}}", ["[training.generator.rate]", "command line"]),
        ("seed=true", ["[seed]", "must not be true or false", "command line"]),
        ("objective.lp_weight=false", ["[objective.lp_weight]", "must not be true or false"]),
        ("data.size=true", ["[data.size]", "must not be true or false"]),
        ("objective.lp_weight=.inf", ["[objective.lp_weight]", "finite"]),
        ("objective.lp_weight=.nan", ["[objective.lp_weight]", "command line"]),
        ("data.split_fractions=[1,2]", ["[data.split_fractions] expected 3 values, got", "command line"]),
        ("training.generator.betas=[0.5]", ["[training.generator.betas] expected 2 values"]),
        ("data.split_fractions=[]", ["[data.split_fractions] expected 3 values"]),
        ("model={name: motion, widths: [8, 8]}", ["[model.widths] expected 3 values, got", "command line"]),
        ("model={name: film_unet, spatial_actions: [1]}", ["[model.spatial_actions] expected 2 values"]),
        ("data.split_fractions=[0.5, 0.2, 0.2, 0.1]", ["[data.split_fractions]", "at most 3"]),
    ],
)
def test_mistakes_in_overrides_are_one_clear_line(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_sets_only_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {size: 48, crop_size: 16}\n")
    loaded = load_with_origins(file, ["data={size: 64, augment: {horizontal_flip: false}}"])
    data = loaded.config.data
    assert (data.size, data.crop_size, data.augment_settings.horizontal_flip) == (64, 16, False)
    assert (loaded.origins["data.size"], loaded.origins["data.crop_size"]) == ("command line", "mine.yaml:1")


def test_every_setting_has_a_description() -> None:
    missing = [setting.key for _, settings in explain_section(Config) for setting in settings if not setting.meaning]
    missing += [name for name, field in Config.model_fields.items() if not field.description]
    assert missing == []


def test_settings_that_a_network_does_not_take_are_refused_and_not_explained() -> None:
    shown = {title: {setting.key for setting in settings} for title, settings in explain_section(Config)}
    assert "model.action_size" in shown["model.name=predrnn_v2"]
    assert "model.num_labels" in shown["model.name=dcgan"]
    assert not {"model.action_size", "model.state_size"} & shown["model.name=dcgan"]
    assert not {"model.noise_channels", "model.noise", "model.num_labels"} & shown["model.name=predrnn_v2"]
    assert "discriminator.num_labels" not in shown["discriminator.name=patch"]
    for name, kind in GENERATORS.items():
        for key in kind.not_taken:
            value = "binary" if key == "noise" else 2
            words = rf"{key}: model.name={name} does not take this setting; set model.{key}="
            with pytest.raises(ConfigError, match=words):
                load_config(None, {"model.name": name, f"model.{key}": value, "data.context_frames": 4})


def test_a_section_is_explained() -> None:
    text = explain("training.generator")
    assert "training.generator.learning_rate  float" in text
    assert "> 0" in text
    assert "Largest learning rate, which the schedule multiplies by a factor up to 1." in text
    assert "training.steps" not in text
    assert "data.size" in explain("data.size")
    assert "model.hidden" in explain("model.name=mlp")
    with pytest.raises(ConfigError, match="did you mean training"):
        explain("trainig")


def test_the_reference_page_is_up_to_date() -> None:
    """Regenerate it with `vidpred config --explain --markdown > docs/reference/settings.md`."""
    page = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
    assert page.read_text(encoding="utf-8") == explain(markdown=True) + "\n"


@pytest.mark.slow
def test_yaml_is_only_loaded_safely() -> None:
    for file in Path(vidpred.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                loaders = [word.value.id for word in node.keywords if isinstance(word.value, ast.Name)]
                assert ast.unparse(node.func) != "yaml.load" or loaders == ["_UniqueKeyLoader"]
    assert yaml.safe_load("1e-4") == "1e-4", "PyYAML reads it as a number now: remove our resolver"


def test_a_config_that_is_no_file_is_not_called_absent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path, tmp_path / "pipe.yaml"):
        with pytest.raises(ConfigError, match="no regular file but a folder, pipe or device"):
            find_preset(path)


def test_a_folder_named_like_a_preset_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion").mkdir()
    assert find_preset("motion").name == "motion.yaml"
