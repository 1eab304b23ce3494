"""Wrong configurations and commands: each gives one line that names the value and the rule, and exit code 2."""

import sys
from pathlib import Path

import pytest
from effort import effort

from studies import step2_grid, step2_rate, step5_stream, step6_local
from studies.__main__ import main as studies_main
from trainer import __main__ as trainer_main

ROOT = Path(__file__).resolve().parent.parent

# (entry point, arguments, words that the line must contain)
WRONG = [
    ("trainer", "optim.lrr=1", ["optim.lrr", "did you mean lr"]),
    ("trainer", "optimm.lr=1", ["optimm", "did you mean optim"]),
    ("trainer", "optim.lr=abc", ["optim.lr = 'abc'", "number"]),
    ("trainer", "optim.lr=-0.1", ["optim.lr = -0.1", "greater than 0"]),
    ("trainer", "optim.lr=.nan", ["optim.lr", "finite"]),
    ("trainer", "optim.lr=.inf", ["optim.lr", "finite"]),
    ("trainer", "optim.batch_size=2000", ["2000", "1100 images"]),
    ("trainer", "optim.batch_size=0", ["optim.batch_size = 0"]),
    ("trainer", "optim.batch_size=64.5", ["optim.batch_size", "integer"]),
    ("trainer", "optim=3", ["optim = 3"]),
    ("trainer", "optim.lr", ["optim.lr", "key=value"]),
    ("trainer", "=3", ["key=value"]),
    ("trainer", "optim.lr={a: [", ["not valid YAML"]),
    ("trainer", "data.transform=affin", ["'affin'", "'affine'"]),
    ("trainer", "data.max_shift=0.1", ["max_shift", "data.transform=affine"]),
    ("trainer", "data.content=20", ["content = 20", "canvas = 12"]),
    ("trainer", "data.observed_views=0", ["observed_views = 0"]),
    ("trainer", "data.name=cifar", ["data.name: 'cifar'"]),
    ("trainer", "model.heads=5", ["model.heads = 5", "48"]),
    ("trainer", "model.dropout=1", ["model.dropout = 1"]),
    ("trainer", "model.encoder.name=swin", ["'swin'"]),
    ("trainer", "--preset cifar100_aug_gate data.canvas=20", ["canvas = 20", "21 or more"]),
    ("trainer", "--preset cifar100_aug_gate data.augment={jitter: 0, hue: 0.2}", ["hue = 0.2", "jitter = 0", "at 0.1"]),
    ("trainer", "--preset cifar100_aug_gate data.augment={action: jitter, jitter: 0}", ["'jitter'", "constant"]),
    ("trainer", "--preset cifar100_aug_gate data.augment={action: crop, crop_scale: [1, 1]}", ["'crop'", "constant"]),
    ("trainer", "model.encoder.name=resnet18 model.encoder.width=4", ["encoder.width = 4", "at least 8"]),
    ("trainer", "objective.teacher=momentum", ["'momentum'"]),
    ("trainer", "objective.ema.half_life=0.1", ["ema", "teacher=ema"]),
    ("trainer", "objective.teacher=ema objective.ema.half_life=0.1 objective.ema.decay=0.9", ["half_life", "decay",
    "give one"]),
    ("trainer", "objective.teacher=ema objective.ema.half_life=2", ["half_life = 2"]),
    ("trainer", "objective.weights.rat=1", ["objective.weights.rat", "did you mean rate"]),
    ("trainer", "objective.weights.rate=-1", ["objective.weights.rate = -1"]),
    ("trainer", "objective.rate.alpha=2", ["alpha", "ln or log"]),
    ("trainer", "objective.rate.form=ln objective.rate.eps2=0.1", ["eps2", "form=unit"]),
    ("trainer", "objective.rate.on=target", ["'target'"]),
    ("trainer", "schedule.warmup_epochs=31", ["warmup_epochs = 31", "horizon_epochs = 30"]),
    ("trainer", "schedule.name=constant schedule.final_lr_ratio=0.1", ["final_lr_ratio", "cosine"]),
    ("trainer", "--epochs 31", ["epochs = 31", "horizon_epochs"]),
    ("trainer", "--epochs -1", ["epochs = -1"]),
    ("trainer", "--seed -1", ["seed = -1"]),
    ("trainer", "--seed one", ["--seed", "'one'"]),
    ("trainer", "--preset digit", ["'digit'", "did you mean digits"]),
    ("trainer", "--preset nowhere.yaml", ["'nowhere.yaml'"]),
    ("trainer", "--preset {bad_yaml}", ["not valid YAML"]),
    ("trainer", "--preset {list_yaml}", ["mapping"]),
    ("trainer", "--preset {twice_yaml}", ["given twice"]),
    ("trainer", "--gate gate31", ["'gate31'", "gate30"]),
    ("trainer", "gates.g={epoch: 3}", ["rank_agg"]),
    ("trainer", "--sead 1", ["--sead", "did you mean --seed"]),
    ("trainer", "--study ../elsewhere", ["'../elsewhere'", "letters"]),
    ("trainer", "--results-dir {file}", ["is a file"]),
    ("trainer", "--device tpu", ["tpu"]),
    ("trainer", "precision=fp16", ["precision = 'fp16'"]),
    ("trainer", "precision=tf32 --device cpu", ["precision = 'tf32'", "fp32"]),
    ("trainer", "runtime.compile=true --device cpu", ["runtime.compile = True", "remove it"]),
    ("trainer", "--preset h_jepa_digits data.stream.kind=classes", ["data.stream", "h_jepa", "remove it"]),
    (
        "trainer", "--preset h_jepa_digits data.standard.views=2 objective.weights.rate=1 objective.rate.window.rows=9",
        ["objective.rate.window", "data.standard.views = 2", "remove one"],
    ),
    ("trainer", "--preset h_jepa_digits model.encoder.vit.attention=cudnn --device cpu", ["'cudnn'", "auto or math"]),
    ("trainer", "model.encoder.name=vit model.encoder.width=16 model.encoder.vit.patch=5", ["canvas = 12", "5"]),
    ("trainer", "objective.local.weight=1 model.encoder.name=vit model.encoder.width=16", ["'encoder'", "vit has no"]),
    ("trainer", "objective.local.lr_scale=[1,1]", ["2 values", "3 blocks"]),
    ("trainer", "eval.subspace.epochs=[1] data.sizes=[90,3,9]", ["eval.subspace.epochs", "4 validation", "leaves 3"]),
    ("trainer", "runtime.threads=0", ["runtime.threads = 0"]),
    ("trainer", "optim.lr=true", ["optim.lr = True", "number"]),
    ("trainer", "epochs=true", ["epochs = True", "integer"]),
    ("trainer", "data.anchor_first=yes", ["data.anchor_first = 'yes'", "boolean"]),
    ("trainer", "optim.lr=!!int\u00a0abc", ["optim.lr"]),
    ("trainer", "objective.weights.predict=0", ["objective.weights.predict = 0", "greater than 0"]),
    ("trainer", "--preset {loop_yaml}", ["extends itself"]),
    ("trainer", "--results-dir {too_long}", ["File name too long"]),
    ("rate", "seed=7", ["seed=7", "--seeds"]),
    ("rate", "eval.probe_epochs=[4]", ["eval.probe_epochs", "rungs"]),
    ("rate", "--epochs 5 schedule.horizon_epochs=5", ["warmup_epochs = 6", "horizon_epochs = 5"]),
    ("rate", "--gpus-per-trial nan", ["nan"]),
    ("rate", "--seeds=", ["--seeds ''", "number of seeds"]),
    ("rate", "--seeds=,", ["--seeds ','", "number of seeds"]),
    ("rate", "--results-dir=", ["--results-dir ''", "give a folder"]),
    ("trainer", "--results-dir=", ["--results-dir ''", "give a folder"]),
    ("rate", "--study=", ["study name ''", "letters"]),
    ("trainer", "--study=", ["study name ''", "letters"]),
    ("rate", "--num-trials 100000000", ["--num-trials 100000000", "at most 10000"]),
    ("rate", "--seeds 0", ["--seeds 0", "1 to 100"]),
    ("rate", "--seeds a,b", ["'a,b'"]),
    ("rate", "--seeds 1 2 3", ["override '2'", "one word, as --seeds 0,4,7"]),
    ("rate", "--seeds 1,1", ["'1,1'", "different"]),
    ("rate", "--seeds 1000,1", ["1000"]),
    ("rate", "--num-trials 0", ["--num-trials 0", "at least 1"]),
    ("rate", "--epochs 0", ["--epochs 0", "at least 1"]),
    ("rate", "--workers-per-trial 0", ["--workers-per-trial 0"]),
    ("rate", "--workers-per-trial 2 --backend local", ["--workers-per-trial 2", "ray-train"]),
    ("rate", "--cpus-per-trial 4096", ["4096 CPUs", "lower"]),
    ("rate", "--gpus-per-trial 64", ["64 GPUs", "lower"]),
    ("rate", "--gpus-per-trial 1.5", ["1.5", "whole number"]),
    ("rate", "--gpus-per-trial 0.5 --workers-per-trial 2", ["0.5", "nccl"]),
    ("rate", "--workers-per-trial 2 optim.batch_size=33", ["optim.batch_size = 33", "2 workers"]),
    ("stream", "--quick --workers-per-trial 2", ["data.stream.replay", "2 workers", "one per run"]),
    ("local", "--quick --workers-per-trial 2", ["objective.local", "2 workers", "one per run"]),
    ("rate", "precision=tf32 runtime.device=cpu", ["precision = 'tf32'", "fp32"]),
    ("rate", "--max-concurrent 0", ["--max-concurrent 0"]),
    ("rate", "--backend slurm", ["slurm"]),
    ("rate", "--wandb online", ["--wandb online", "key"]),
    ("rate", "--wandb sometimes", ["sometimes"]),
    ("rate", "objective.teacher=ema", ["objective.teacher", "sets", "itself"]),
    ("rate", "objective.weights.rate=0.1", ["objective.weights.rate", "itself"]),
    ("rate", "objective.weights={rate: 0.1}", ["objective.weights", "itself"]),
    ("rate", "optim.lr=x", ["optim.lr"]),
    ("rate", "--dashbord", ["--dashbord", "did you mean --dashboard"]),
    ("rate", "--results-dir {existing_study} --study s", ["exists", "--resume"]),
    ("rate", "--study {long}", ["letters"]),
    ("rate", "--sampler bayes", ["bayes", "tpe"]),
    ("rate", "--sampler grid --num-trials 999", ["--num-trials 999", "216 points"]),
    ("rate", "--objectives r2_action", ["'r2_action'", "linacc"]),
    ("rate", "--objectives linacc,loss", ["'linacc,loss'", "r2_action"]),
    ("rate", "--top-k 0", ["--top-k 0", "1 to 20"]),
    ("rate", "--lag 3", ["--lag 3", "--deterministic"]),
    ("rate", "--deterministic --lag 1", ["--lag 1", "at least 2"]),
    ("rate", "--stopping none --grace 3", ["--grace", "no effect", "--stopping none"]),
    ("rate", "--stopping none --collapse-rank 2", ["--collapse-rank", "no effect"]),
    ("rate", "--grace 0", ["--grace 0", "at least 1"]),
    ("rate", "--grace 16", ["--grace 16", "at most 15"]),
    ("rate", "--eta 1", ["--eta 1", "at least 2"]),
    ("rate", "--brackets 5 --stopping hyperband", ["--brackets 5", "rungs"]),
    ("rate", "--collapse-rank -1", ["--collapse-rank -1"]),
    ("rate", "--probe-epochs 1,40", ["'1,40'", "1 to 30"]),
    ("rate", "--probe-epochs x", ["'x'"]),
    ("rate", "--retries -1", ["--retries -1"]),
    ("rate", "--hang-minutes 0", ["--hang-minutes 0", "positive"]),
    ("rate", "--budget-hours 0", ["--budget-hours 0", "positive"]),
    ("rate", "--budget-usd 5", ["--budget-usd 5", "--usd-per-hour"]),
    ("rate", "--usd-per-hour -1", ["--usd-per-hour -1"]),
    ("rate", "--warm-start nowhere", ["nowhere", "study.json", "results/<study>"]),
    ("grid", "--num-trials 3", ["--num-trials"]),
    ("grid", "--deterministic", ["--deterministic"]),
    ("grid", "schedule.name=cosine", ["schedule.name", "itself"]),
    ("grid", "--optim.lr", ["--optim.lr", "value"]),
    ("doctor", "--preset digit", ["did you mean digits"]),
    ("doctor", "optim.lrr=1", ["did you mean lr"]),
    ("doctor", "--cpus-per-trial 0", ["--cpus-per-trial 0"]),
    ("doctor", "--gpus-per-trial nan", ["nan"]),
    ("doctor", "--gpus-per-trial 0.5 --workers-per-trial 2", ["nccl"]),
    ("doctor", "--adress auto", ["did you mean --address"]),
    ("doctor", "--wandb perhaps", ["perhaps"]),
]  # fmt: skip

ENTRY = {
    "trainer": trainer_main.main,
    "rate": step2_rate.main,
    "grid": step2_grid.main,
    "stream": step5_stream.main,
    "local": step6_local.main,
    "doctor": lambda words: studies_main(["doctor", *words]),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "bad.yaml").write_text("optim: {lr: 1\n")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "file").write_text("")
    (folder / "studies" / "s").mkdir(parents=True)
    (folder / "studies" / "s" / "study.json").write_text("{}")
    (folder / "studies" / "s" / "decisions.jsonl").write_text('{"event":"start","name":"r","trial":null}\n')
    (folder / "loop.yaml").write_text(f"extends: {folder / 'loop.yaml'}\n")
    return {
        "bad_yaml": folder / "bad.yaml",
        "list_yaml": folder / "list.yaml",
        "twice_yaml": folder / "twice.yaml",
        "file": folder / "file",
        "existing_study": folder / "studies",
        "loop_yaml": folder / "loop.yaml",
        "long": "x" * 200,
        "too_long": folder / ("x" * 400),
    }


@pytest.mark.parametrize(
    "entry, arguments, words", WRONG, ids=[f"{entry} {arguments}"[:60] for entry, arguments, _ in WRONG]
)
def test_one_line_and_exit_code_two(entry, arguments, words, places, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    argv = _split(arguments, places)
    assert ENTRY[entry](argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err
    assert not (tmp_path / "results").exists()


def _split(arguments, places):
    """Words of a command; braces of YAML values stay together, {name} is a place."""
    import re

    for name, value in places.items():
        arguments = arguments.replace("{" + name + "}", str(value))
    return re.findall(r"\S*[={][^ ]*\{[^}]*\}?\S*|\S+=\{.*|\S+", arguments)


@pytest.mark.parametrize(
    "command",
    [
        "-m trainer --help",
        "studies/step2_rate.py --help",
        "studies/step2_rate.py --dry-run",
        "studies/step2_grid.py --dry-run",
        "-m trainer --dry-run",
        "-m trainer.evaluate --help",
        "-m studies doctor --help",
        "-m studies replay --help",
        "-m clusters.vast study --help",
    ],
)
def test_help_and_plans_are_quick_and_light(command, tmp_path):
    """They answer within a second of processor time and load neither torch nor ray, and help not even numpy."""
    probe = "import runpy, sys; sys.argv = sys.argv[1:]; m = sys.argv[0] == '-m' and sys.argv.pop(0)\n"
    probe += "try:\n    (runpy.run_module if m else runpy.run_path)(sys.argv[0], run_name='__main__')\n"
    probe += "except SystemExit as e:\n    assert not e.code, e.code\n"
    more = ", 'numpy'" if "--help" in command else ""
    probe += f"bad = {{'torch', 'ray', 'optuna', 'pandas', 'scipy'{more}}} & set(sys.modules)\nassert not bad, bad"
    words = command.split()
    words = [str(ROOT / word) if word.startswith("studies/") else word for word in words]
    command = [sys.executable, "-c", probe, *words]
    seconds, printed, _ = effort(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    assert printed.strip() and seconds < 1.0
