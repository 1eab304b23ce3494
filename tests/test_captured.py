"""The captured step trains on the same batches at the same rates; here without a graph, on a GPU by
tests/gpu/verify.py."""

import pytest
import torch
from small import config, views

from trainer import loop
from trainer.data.images import load_images
from trainer.fast import accelerate
from trainer.fast.captured import CapturedStep
from trainer.loop import train
from trainer.method import Output
from trainer.record.run import read

pytestmark = pytest.mark.usefixtures("few_steps")
FP64 = ["precision=fp64", "eval.probe_epochs=[2]", "epochs=2", "data.sizes=[512,64,64]"]
TEACHER = ["objective.teacher=ema", "objective.ema.half_life=0.1"]


class Uncaptured(CapturedStep):
    """Stands in for Step: the static tensors and the rendering ahead of a captured step, without a graph."""

    def __init__(self, views, learn, rates):
        super().__init__(views, learn, rates, torch.device("cpu"))


def records(folder):
    lines = [line for path in folder.glob("*/records.jsonl") for line in read(path)]
    return [
        (line["event"], line["epoch"], name, value) for line in lines for name, value in sorted(line["metrics"].items())
    ]


@pytest.mark.parametrize("overrides", [[], TEACHER, ["objective.symmetric=true"], ["optim.clip_norm=0.05"]], ids=str)
def test_a_step_on_static_tensors_is_the_step(tmp_path, monkeypatch, overrides):
    train(config(*FP64, *overrides), tmp_path / "plain")
    monkeypatch.setattr(loop, "Step", Uncaptured)
    train(config(*FP64, *overrides), tmp_path / "static")
    plain, static = records(tmp_path / "plain"), records(tmp_path / "static")
    assert [row[:3] for row in plain] == [row[:3] for row in static] and len(plain) > 20
    for (*where, expected), (*_, found) in zip(plain, static, strict=True):
        # rates are fp32 on the device: 6e-8 of each, over 16 steps; a probe's accuracy may flip one image
        assert found == pytest.approx(expected, rel=2e-4, abs=2e-4) or "linacc" in where[2], where


def test_it_resumes_where_the_plain_step_stopped(tmp_path, monkeypatch):
    train(config(*FP64), tmp_path / "whole")
    train(config(*FP64, "epochs=1"), tmp_path / "parts")
    monkeypatch.setattr(loop, "Step", Uncaptured)
    train(config(*FP64), tmp_path / "parts")
    last = {row[:3]: row[3] for row in records(tmp_path / "parts")}
    for event, epoch, name, value in records(tmp_path / "whole"):
        if event == "epoch":
            assert last[event, epoch, name] == pytest.approx(value, rel=2e-4, abs=2e-4)


def test_what_it_returns_stays_as_it_was():
    run = config()
    source = views(run, load_images(run))
    seen = []

    def learn(batch, rate, scalars):
        seen.append((batch["step"].clone(), batch["actions"].clone(), rate.clone()))
        return {"z": 1 * batch["actions"], "labels": batch["labels"]}, batch["step"][None].float()

    step = CapturedStep(source, learn, lambda number: (0.5**number, {"ema_decay": None}), torch.device("cpu"))
    kept = [step(number) for number in (0, 1, 2, 7)]
    expected = [source.render(source.plan(number)) for number in (0, 1, 2, 7)]
    for (number, actions, rate), batch, (found, values) in zip(seen, expected, kept, strict=True):
        assert number == batch["step"] and rate == 0.5 ** int(number)
        assert torch.equal(actions, batch["actions"]) and torch.equal(found["z"], batch["actions"])
        assert torch.equal(found["labels"], batch["labels"]) and values == float(batch["step"])


def test_the_twelfth_trial_of_a_process_is_compiled_too(monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **settings: original(function, backend=backend, **settings))

    class Views:
        def compile(self):
            pass

    for trial in range(12):
        layer = torch.nn.Linear(3, 1 + trial)
        optimiser = torch.optim.Adam(layer.parameters())
        evaluate = accelerate.on_cuda(
            lambda batch, layer=layer: (Output({"predict": layer(batch).mean()}, {}), layer(batch).sum()),
            Views(),
            optimiser,
        )
        output, loss = evaluate(torch.ones(2, 3))
        assert len(compiled) == trial + 1 and loss.requires_grad and not output.terms["predict"].requires_grad
        assert optimiser.param_groups[0]["capturable"]


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="a recorded graph on a device: needs CUDA, run by make gpu; what is recorded, and when, is tested above",
)
def test_cuda_graph_resumes_and_matches_the_plain_step(tmp_path):
    settings = [
        "runtime.device=cuda",
        "eval.probe_epochs=[2]",
        "epochs=2",
        "objective.teacher=ema",
        "objective.ema.half_life=0.1",
    ]
    train(config(*settings), tmp_path / "plain")
    train(config(*settings, "runtime.compile=true"), tmp_path / "whole")
    train(config(*settings, "runtime.compile=true", "epochs=1"), tmp_path / "parts")
    train(config(*settings, "runtime.compile=true"), tmp_path / "parts")
    plain, whole, parts = (
        {row[:3]: row[3] for row in records(tmp_path / name) if row[0] == "epoch"}
        for name in ("plain", "whole", "parts")
    )
    assert plain.keys() == whole.keys() == parts.keys()
    for where, expected in plain.items():
        assert whole[where] == pytest.approx(expected, rel=0.02, abs=0.02), where
        assert parts[where] == pytest.approx(whole[where], rel=0.02, abs=0.02), where
