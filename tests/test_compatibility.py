"""The table of defects is complete, and everything it names exists."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from trainer.families.seq_jepa import Config
from trainer.record.dotted import dotted

ROOT = Path(__file__).parent.parent
DEFECTS, _, SWITCHES = (ROOT / "trainer" / "COMPATIBILITY.md").read_text(encoding="utf-8").partition("\n## Switches")
LINES = DEFECTS.splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("|")][2:]
WANTED = [*(f"U{n}" for n in range(1, 17)), "KU", *(f"K{n}" for n in range(1, 32))]


def test_every_defect_has_one_row():
    assert [row[0] for row in ROWS] == WANTED
    assert all(len(row) == 4 and all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_tests_and_settings_that_exist(row):
    assert re.match(r"(absent|not applicable): |switch: `", row[2])
    cited = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", row[3])
    assert cited and len(cited) == row[3].count("`") / 2
    for file, name in cited:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.M), f"{file} has no {name}"
    for setting in re.findall(r"`([a-z_0-9.]+)(?:=[^`]*)?`", row[2]):
        if "." in setting:
            _check(setting)


def _check(setting):
    """A dotted key leads to a field of the configuration."""
    node = Config
    for part in setting.split("."):
        assert node is not None and part in node.model_fields, f"{setting}: no field {part}"
        annotation = node.model_fields[part].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        node = next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)


def test_every_switch_that_a_reproducing_preset_sets_is_in_the_table():
    """What the presets of the paper, its code and the log change against ours is named, or one of the plain sizes
    below."""
    from trainer import presets

    plain = {
        "data", "seed", "epochs", "eval.probe_epochs", "optim.lr", "optim.batch_size", "optim.weight_decay",
        "optim.name", "objective.weights",
        "objective.teacher", "model.layers", "model.heads", "model.action_dim", "model.predictor_hidden",
        "model.encoder", "schedule", "precision", "gates",
        "objective.rate.form", "objective.rate.on", "objective.sharpen.form",
    }  # fmt: skip
    named = set(re.findall(r"`([a-z_]+\.[a-z_.0-9]+)(?:=[^`]*)?`", DEFECTS + SWITCHES))
    defaults, changed = dotted(Config().model_dump(mode="json")), set()
    for preset in presets.names():
        if preset.endswith(("_as_logged", "_upstream_code", "_paper")):
            settings = dotted(presets.load(preset).model_dump(mode="json"))
            changed |= {key for key, value in settings.items() if defaults.get(key) != value}
    wanted = {"optim.decay_on", "objective.ema.per_epoch", "model.dropout", "data.select_on", "data.pretrain_on"}
    assert wanted <= changed and wanted <= named
    sizes = {
        key
        for key in changed
        if any(key == part or key.startswith(f"{part}.") for part in plain - {"data", "schedule"})
    }
    switches = {
        key for key in changed - sizes if key.startswith(("optim.", "model.", "objective.ema.", "eval.probe_bn"))
    }
    assert switches - named <= {"objective.ema.decay"}, switches - named


@pytest.mark.parametrize("setting", re.findall(r"`([a-z_]+\.[a-z_.0-9]+)=", SWITCHES))
def test_the_further_switches_exist(setting):
    _check(setting)


def test_the_presets_named_exist():
    from trainer import presets

    for pattern in re.findall(
        r"^\| `([a-z0-9_*]+)`(?:, `[^|]*)? \| (?:the paper|the research log's own)", SWITCHES, re.M
    ):
        assert any(re.fullmatch(pattern.replace("*", ".*"), name) for name in presets.names()), pattern


def test_switches_take_the_values_named():
    from small import config

    named = dict(
        re.findall(
            r"`((?:optim|schedule|objective|data|model|eval)\.[a-z_0-9.]+)=([^`]+)`", "\n".join(row[2] for row in ROWS)
        )
    )
    needed = {
        "objective.ema.anneal": ["objective.teacher=ema"],
        "data.augment.action": ["data.name=cifar10", "data.transform=augment", "data.content=null", "data.canvas=32"],
        "data.action_scale": ["data.name=cifar10", "data.transform=augment", "data.content=null", "data.canvas=32"],
        "eval.pair_target": ["data.observed_views=1"],
    }
    assert needed.keys() <= named.keys() and len(named) >= 15
    for key, value in named.items():
        node = config(*needed.get(key, []), f"{key}={value}").model_dump(mode="json")
        for part in key.split("."):
            node = node[part]
        assert node == yaml.safe_load(value)
