"""The fast paths compute the same: fused batch-norm, packed convolutions, and the run that uses them."""

import math
import platform
import subprocess
import sys

import pytest
import torch
from small import config, method, views

from trainer import placing, presets
from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.resnet import Conv3x3
from trainer.errors import UsageError
from trainer.fast import allocator, compilable, fused_norm
from trainer.fast.accelerate import switch, whether_it_pays
from trainer.fast.fused_norm import fused_act
from trainer.fast.packed_conv import COUNTS, packed
from trainer.loop import train
from trainer.probes import regression
from trainer.record.run import read
from trainer.step import forward

CIFAR = [
    "data.generated=true", "data.sizes=[16,16,16]", "model.encoder.width=8", "model.action_dim=16", "model.layers=1",
    "model.predictor_hidden=32",
    "optim.batch_size=8", "model.dropout=0.0",
]  # fmt: skip


def maps(*shape, offset=0.0):
    return (torch.randn(*shape) * 3 + offset).bfloat16().contiguous(memory_format=torch.channels_last)


@pytest.fixture(params=["eager", *(["compiled"] if compilable.has_compiler() else [])])
def kernels(request, monkeypatch):
    """The kernels' plain tensor code, which runs everywhere, and compiled where a compiler is; without one the product
    refuses."""
    if request.param == "eager":
        monkeypatch.setattr(fused_norm, "_compiled", lambda function: function)
        monkeypatch.setattr(compilable, "has_compiler", lambda: True)


@pytest.mark.parametrize("residual, relu", [(False, True), (True, True), (False, False)])
def test_the_fused_norm_equals_the_plain_one_in_single_precision(kernels, residual, relu):
    torch.manual_seed(0)
    x, r, g = maps(8, 16, 6, 6, offset=5.0), maps(8, 16, 6, 6), maps(8, 16, 6, 6)
    found = []
    for fused, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        norm = GlobalBatchNorm(16)
        norm.kernel = fused_act if fused else None
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 16))
            norm.bias.copy_(torch.linspace(-1, 1, 16))
        a, b = (t.to(dtype).detach().requires_grad_() for t in (x, r))
        y = norm.act(a, b if residual else None, relu)
        assert (y.grad_fn.name() == "_NormActBackward") == fused
        y.backward(g.to(dtype))
        found.append(
            [
                y,
                a.grad,
                b.grad if residual else torch.zeros(1),
                norm.weight.grad,
                norm.bias.grad,
                norm.running_mean,
                norm.running_var,
            ]
        )
    for plain, fast in zip(*([t.detach() for t in side] for side in found), strict=True):
        # maps are rounded to bf16 (8 bits), statistics and parameter gradients are not
        tolerance = 6e-3 if fast.dtype == torch.bfloat16 else 2e-5
        assert float((plain.float() - fast.float()).abs().max()) <= tolerance * max(
            1.0, float(plain.detach().float().abs().max())
        )


def test_the_fused_norm_steps_aside_where_it_does_not_apply(kernels):
    norm = GlobalBatchNorm(4)
    norm.kernel = fused_act
    for x in (torch.randn(8, 4, 3, 3), maps(8, 4, 3, 3).contiguous()):
        plain = GlobalBatchNorm(4)
        assert torch.equal(norm.act(x), torch.relu(plain(x)))
    x = maps(8, 4, 3, 3)
    assert torch.equal(norm.eval().act(x), torch.relu(norm(x)))
    kept = norm.running_mean.clone()
    norm.train().track = False
    norm.act(maps(8, 4, 3, 3))
    assert torch.equal(norm.running_mean, kept)


@pytest.mark.parametrize("side, stride", list(COUNTS))
def test_a_packed_convolution_is_the_convolution(side, stride):
    torch.manual_seed(0)
    conv = Conv3x3(6, 10, stride).double()
    x = torch.randn(2 * COUNTS[side, stride], 6, side, side, dtype=torch.float64)
    found = []
    for kernel in (None, packed):
        conv.kernel, y = kernel, None
        a = x.clone().requires_grad_()
        y = conv(a)
        conv.zero_grad()
        y.square().sum().backward()
        found.append((y, a.grad, conv.weight.grad.clone()))
    for plain, fast in zip(*found, strict=True):
        assert torch.allclose(plain, fast, atol=1e-9)
    # a batch that does not divide is computed plainly
    assert torch.equal(conv(x[:3]), torch.nn.functional.conv2d(x[:3], conv.weight, None, stride, 1))


def test_compiling_changes_no_state_and_reports_what_it_saves(kernels):
    run = presets.load("cifar100_aug_gate", CIFAR)
    from trainer.data.images import load_images
    from trainer.data.views import Views
    from trainer.families.seq_jepa.method import SeqJEPA

    source = Views(run, load_images(run), torch.float32)
    model = SeqJEPA(run, 3, source.action_dim).to(memory_format=torch.channels_last)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    batch, device = source.next(), torch.device("cpu")
    plain = forward(run, "cpu", model, model.weights, batch)[1].item()
    model.load_state_dict(state)
    numbers = torch.get_rng_state()
    fast, line = whether_it_pays(
        run, model, model, device, batch, lambda m, b: forward(run, "cpu", m, model.weights, b)[1]
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers) and all(p.grad is None for p in model.parameters())
    assert "compiled in" in line and ("pays from epoch" in line or "does not pay" in line)
    assert forward(run, "cpu", fast, model.weights, batch)[1].item() == pytest.approx(plain, rel=0.02)
    assert any(m.kernel for m in model.modules() if isinstance(m, GlobalBatchNorm))
    switch(model, False)
    model.load_state_dict(state)
    assert forward(run, "cpu", model, model.weights, batch)[1].item() == plain


def test_a_compiled_run_follows_the_plain_one_and_resumes_bit_for_bit(kernels, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 2)
    losses = {}
    for name in ("false", "true"):
        run = presets.load(
            "cifar100_aug_gate",
            [*CIFAR, f"runtime.compile={name}", "schedule.horizon_epochs=3", "schedule.warmup_epochs=1"],
            {"epochs": 3},
        )
        train(run, tmp_path / name)
        (path,) = (tmp_path / name).glob("*/records.jsonl")
        losses[name] = [line["metrics"]["loss/total"] for line in read(path) if line["event"] == "epoch"]
    assert losses["true"] == pytest.approx(losses["false"], rel=0.02) and losses["true"] != losses["false"]
    assert "compiled in" in capsys.readouterr().err
    overrides = [
        *CIFAR,
        "runtime.compile=true",
        "schedule.horizon_epochs=3",
        "schedule.warmup_epochs=1",
        "runtime.across_commits=true",
    ]
    for epochs in (1, 3):
        train(presets.load("cifar100_aug_gate", overrides, {"epochs": epochs}), tmp_path / "resumed")
    (path,) = (tmp_path / "resumed").glob("*/records.jsonl")
    assert [line["metrics"]["loss/total"] for line in read(path) if line["event"] == "epoch"] == losses["true"]


def test_compiling_what_cannot_be_compiled_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="this run has cpu, fp32, conv and 1"):
        train(config("runtime.compile=true"), tmp_path)
    # before anything is measured
    assert [line["event"] for path in tmp_path.rglob("records.jsonl") for line in read(path)] in ([], ["error"])
    run = presets.load("cifar100_aug_gate", [*CIFAR, "runtime.compile=true"])
    with pytest.raises(UsageError, match="resnet18 and 2"):
        compilable.check(run, "cpu", 2)
    monkeypatch.setattr(compilable, "has_compiler", lambda: False)
    with pytest.raises(UsageError, match="no C\\+\\+ compiler is found"):
        train(run, tmp_path)


def test_a_kernel_of_half_precision_is_refused_with_another_on_cuda():
    flash = "model.encoder.vit.attention=flash"
    with pytest.raises(UsageError, match="'flash' computes in half precision .* 'fp32': take bf16"):
        placing.check(presets.load("h_jepa_digits", [flash]), "cuda", 1)
    placing.check(presets.load("h_jepa_digits", [flash, "precision=bf16"]), "cuda", 1)
    placing.check(presets.load("h_jepa_digits", [flash]), "cpu", 1)


@pytest.mark.parametrize(
    ("preset", "override", "why"),
    [
        ("digits", "model.norm=running", "counts its batches"),
        ("digits", "objective.local={stage: aggregator}", "freezes the encoder"),
        ("h_jepa_digits", "seed=1", "draws its masks"),
    ],
)
def test_what_a_recorded_step_would_do_otherwise_is_refused_on_cuda(preset, override, why):
    run = presets.load(preset, [override, "runtime.compile=true"])
    with pytest.raises(UsageError, match=why):
        placing.check(run, "cuda", 1)


@pytest.mark.parametrize(
    "overrides", [[], ["objective.teacher=ema"], ["objective.symmetric=true", "objective.weights.sigreg=0.01"]]
)
def test_the_method_can_be_traced_for_a_compiler(digits, overrides):
    """What CUDA's torch.compile starts from; the eager backend runs the traced graph without generating code."""
    run = config(*overrides)
    batch = views(run, digits).next()
    plain = method(run)(batch).terms
    traced = torch.compile(method(run), backend="eager")(batch).terms
    for name, value in plain.items():
        assert math.isclose(float(traced[name].detach()), float(value.detach()), rel_tol=1e-5)


FAULTS = """
import resource, sys, torch
from trainer.fast.allocator import huge_pages, keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
torch.ones(2**24)
if kept:
    huge_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_kept_memory_is_not_faulted_in_again():
    found = {}
    for how in ("returned", "kept"):
        words = subprocess.run(
            [sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True
        ).stdout.split()
        found[how] = [int(word) for word in words]
    kept, faults = found["kept"]
    # mallopt is glibc's: there it must hold, and elsewhere the setting must say that it does not
    assert bool(kept) == (platform.libc_ver()[0] == "glibc") and not found["returned"][0]
    if kept:
        assert found["returned"][1] > 10_000 and faults < found["returned"][1] / 4


def test_a_c_library_without_mallopt_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert allocator.keep_freed_memory() is False
