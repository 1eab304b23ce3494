"""YAML files of one's own: whatever their shape, one line says what is wrong; ``extends`` is found from where the file
is."""

from itertools import product

import pytest

from trainer import presets
from trainer.__main__ import main
from trainer.errors import UsageError

SHAPES = [
    "[]",
    "3",
    "a",
    "{}",
    "null",
    "true",
    "[1, 2]",
    "{a: 3}",
    "{a: []}",
    "{a: {b: {c: 1}}}",
    "{1: 2}",
    "{null: 1}",
    "{[1]: 2}",
    "{2026-01-01: {}}",
]
KEYS = [
    "gates",
    "data",
    "model",
    "model.encoder",
    "objective",
    "objective.weights",
    "optim",
    "schedule",
    "eval",
    "eval.subspace",
    "runtime",
    "seed",
    "epochs",
    "extends",
    "revised",
]


@pytest.mark.parametrize("extends", ["", "extends: digits\n"])
@pytest.mark.parametrize("key", KEYS)
def test_no_shape_of_yaml_ends_in_a_traceback(key, extends, tmp_path, capsys):
    for number, shape in enumerate(SHAPES):
        text = shape
        for name in reversed(key.split(".")):
            text = f"{{{name}: {text}}}"
        path = tmp_path / f"{number}.yaml"
        path.write_text((extends if key != "extends" else "") + text[1:-1] + "\n")
        code = main(["--preset", str(path), "--dry-run", "--results-dir", str(tmp_path)])
        out, err = capsys.readouterr()
        assert (code == 0 and not err) or (code == 2 and err.startswith("error: ") and err.count("\n") == 1), (
            shape,
            err,
        )


def keys(node, prefix=""):
    for name, value in node.items():
        yield prefix + name
        yield from keys(value, f"{prefix}{name}.") if isinstance(value, dict) else ()


def test_no_key_of_any_preset_takes_a_value_of_another_shape_for_a_traceback():
    seen = set()
    for preset in presets.names():
        tree = presets.load(preset).model_dump(mode="json")
        fresh = {(tree["family"], key) for key in keys(tree)} - seen
        seen |= fresh
        for (_, key), shape in product(fresh, ("{}", "[1]", "x", "3")):
            try:
                presets.load(preset, [f"{key}={shape}"])
            except UsageError as error:
                assert "\n" not in str(error)
            except Exception as error:
                raise AssertionError(f"{preset} {key}={shape}") from error
    assert {("seq_jepa", "model.predictor"), ("h_jepa", "model.levels")} <= seen


@pytest.mark.parametrize("shape", ["[]", "{a: 3}", "3"])
def test_gates_of_another_shape_are_named_with_their_file(shape, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: digits\ngates: {shape}\n")
    with pytest.raises(UsageError, match="mine.yaml: gates = .*must map"):
        presets.load(str(tmp_path / "mine.yaml"))


def test_null_takes_a_gate_back_on_the_command_line_as_in_a_preset():
    gates = presets.load("digits").gates
    assert presets.load("digits", ["gates.quick=null"]).gates == {k: v for k, v in gates.items() if k != "quick"}
    assert presets.load("digits", ["gates=null"]).gates == {}


def test_extends_is_found_from_where_the_file_is(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "base.yaml").write_text("extends: digits\nseed: 7\n")
    (tmp_path / "below" / "mine.yaml").write_text("extends: ../base.yaml\nepochs: 3\n")
    for where in (tmp_path, tmp_path / "below"):
        monkeypatch.chdir(where)
        config = presets.load(str((tmp_path / "below" / "mine.yaml").relative_to(where)))
        assert (config.seed, config.epochs) == (7, 3)


def test_a_name_that_is_none_gives_the_three_nearest(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: cifar10_rott\n")
    for name in (str(tmp_path / "mine.yaml"), "cifar10_rott", "cifar10_rott.yaml"):
        with pytest.raises(UsageError, match="did you mean cifar10_rot[?] Also near: ") as caught:
            presets.load(name)
        assert len(str(caught.value)) < 400
        assert ("mine.yaml: extends" in str(caught.value)) is (name == str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("entry", ["trainer", "study"])
def test_a_dry_run_says_that_the_data_are_absent(entry, tmp_path, capsys):
    from studies import step2_rate

    command = {"trainer": main, "study": step2_rate.main}[entry]
    words = [
        "--preset",
        "cifar100_aug_30",
        "--data-root",
        str(tmp_path),
        "--results-dir",
        str(tmp_path / "r"),
        "--dry-run",
    ]
    assert command(words) == 0
    assert "absent" in (out := capsys.readouterr().out) and "--download" in out
    assert command([*words, "data.generated=true"]) == 0
    assert "absent" not in capsys.readouterr().out


def test_revisions_are_the_preset_as_it_was(tmp_path):
    """The latest first, each with what later ones changed, of the file itself before those of the one it extends."""
    (tmp_path / "mine.yaml").write_text(
        "extends: digits\noptim: {lr: 0.3}\nrevised: [{optim.lr: 0.2}, {optim.lr: 0.1, optim.clip_norm: 1.0}]\n"
    )
    mine = str(tmp_path / "mine.yaml")
    found = [presets.load(mine, revision) for revision in presets.revisions(mine)]
    assert [(one.optim.lr, one.optim.clip_norm, one.objective.weights.rate) for one in found] == [
        (0.3, None, 0.03), (0.2, None, 0.03), (0.1, 1.0, 0.03), (0.1, 1.0, 0.1),
    ]  # fmt: skip
    assert presets.revisions("mini3d_rot") == ((),)
