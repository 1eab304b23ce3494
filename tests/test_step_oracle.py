"""A whole optimiser step, against one written the usual way: every parameter after several steps, in double precision.

The other side is the plain model of ``benchmarks/reference_loop.py`` (stock torch and torchvision modules), and below,
by hand and one parameter at a time, what comes after its loss: rate, gradient clipping, Adam, schedule and teacher.
"""

import math

import pytest
import torch
from benchmarks import reference_loop

from trainer import presets
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.step import make_optimiser, optimise

WIDTH, EMBEDDED, HIDDEN, BATCH, STEPS_PER_EPOCH, HORIZON = 8, 8, 24, 8, 3, 4
SETTINGS = [
    f"model.encoder.width={WIDTH}", f"model.action_dim={EMBEDDED}", f"model.predictor_hidden={HIDDEN}",
    f"data.sizes=[{STEPS_PER_EPOCH * BATCH},10,10]", f"optim.batch_size={BATCH}", "data.generated=true",
    "precision=fp64",
    "objective.weights.rate=0.3", "optim.lr=0.01", "optim.weight_decay=0.2", "optim.beta1=0.8", "optim.beta2=0.95",
    "schedule={name: cosine, warmup_epochs: 1, final_lr_ratio: 0.1, start_lr_ratio: null}",
    f"schedule.horizon_epochs={HORIZON}",
]  # fmt: skip


def ours_to_plain(name):
    """The reference model's name of one of our parameters or buffers."""
    whole = {"aggregator.token": "token", "action.linear.": "action.0.", "action.norm.": "action.1."}
    for ours, theirs in whole.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    for part, theirs in (("encoder.", "encoder."), ("target_branch.average.", "teacher.")):
        if name.startswith(part):
            rest = name.removeprefix(part)
            if rest.startswith("blocks."):
                _, number, rest = rest.split(".", 2)
                rest = f"layer{int(number) // 2 + 1}.{int(number) % 2}." + rest
                for ours, stock in (
                    ("norm1", "bn1"),
                    ("norm2", "bn2"),
                    ("shortcut_norm", "downsample.1"),
                    ("shortcut", "downsample.0"),
                ):
                    rest = rest.replace(ours, stock)
            else:
                rest = rest.replace("stem", "conv1").replace("norm", "bn1")
            return theirs + rest
    return name


class Plain:
    """The same training without the product's code; settings as plain numbers.

    Args:
        decayed: names of the parameters with weight decay.
    """

    def __init__(self, method, *, teacher, rate, lr, warmup, floor, decay, decayed, coupled, betas, clip, tau):
        self.model = reference_loop.Model(WIDTH, EMBEDDED, HIDDEN, dropout=0.0).double().train()
        state = {ours_to_plain(name): value.clone() for name, value in method.state_dict().items()}
        if teacher != "ema":
            self.model.teacher = self.model.encoder
            state |= {f"teacher.{name[8:]}": value for name, value in state.items() if name.startswith("encoder.")}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
        self.teacher, self.rate, self.lr, self.warmup, self.floor, self.tau = teacher, rate, lr, warmup, floor, tau
        self.decay, self.decayed, self.coupled, self.betas, self.clip = decay, decayed, coupled, betas, clip
        self.norms = []
        students = ((name, p) for name, p in self.model.named_parameters() if not name.startswith("teacher."))
        self.trained = {name: p for name, p in students if p.requires_grad}
        self.first = {name: torch.zeros_like(p) for name, p in self.trained.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.trained.items()}

    def rate_at(self, step):
        """Warm-up from lr / w over w steps, then a cosine that ends at the floor in the horizon's last step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        through = (step - self.warmup) / (HORIZON * STEPS_PER_EPOCH - 1 - self.warmup)
        return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * through)) / 2)

    def coding_rate(self, z):
        """(d + n) / (d n) times half the log-determinant of I + d / (0.05 n) Z'Z, rows of unit length."""
        n, d = z.shape
        z = z / z.norm(dim=1, keepdim=True)
        return (d + n) / (d * n) * torch.logdet(torch.eye(d, dtype=z.dtype) + d / (n * 0.05) * z.T @ z) / 2

    def __call__(self, step, views, actions):
        loss, z_agg, _ = self.model(views, actions)
        loss = loss - self.rate * self.coding_rate(z_agg)
        gradients = dict(zip(self.trained, torch.autograd.grad(loss, list(self.trained.values())), strict=True))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        self.norms.append({name: float(g.norm()) for name, g in gradients.items()} | {"": norm})
        lr, (beta1, beta2) = self.rate_at(step), self.betas
        with torch.no_grad():
            for name, p in self.trained.items():
                g, decay = gradients[name], self.decay if name in self.decayed else 0.0
                if self.clip is not None:
                    g = g * min(1.0, self.clip / (norm + 1e-6))  # torch's guard against a norm of zero
                if self.coupled:
                    g = g + decay * p
                else:
                    p.mul_(1 - lr * decay)
                self.first[name].mul_(beta1).add_((1 - beta1) * g)
                self.second[name].mul_(beta2).add_((1 - beta2) * g * g)
                unbiased = self.first[name] / (1 - beta1 ** (step + 1)), self.second[name] / (1 - beta2 ** (step + 1))
                p.sub_(lr * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
            if self.teacher == "ema":
                tau = 1 - (1 - self.tau) * (math.cos(math.pi * step / (HORIZON * STEPS_PER_EPOCH)) + 1) / 2
                for mean, p in zip(self.model.teacher.parameters(), self.model.encoder.parameters(), strict=True):
                    mean.mul_(tau).add_((1 - tau) * p)
        return float(loss.detach())


STOPGRAD = ["objective.teacher=stopgrad", "objective.ema=null"]
CASES = {
    # a clip that always acts, one that never does, and none
    "ema-adamw-clipped": (
        ["objective.teacher=ema", "objective.ema={decay: 0.9}", "optim.clip_norm=0.05"],
        {"teacher": "ema", "tau": 0.9, "clip": 0.05},
    ),
    "ema-adamw": (
        ["objective.teacher=ema", "objective.ema={decay: 0.5}", "optim.clip_norm=1e6"],
        {"teacher": "ema", "tau": 0.5, "clip": 1e6},
    ),
    "stopgrad-adam-l2-clipped": (
        [*STOPGRAD, "optim.name=adam", "optim.clip_norm=0.2"],
        {"teacher": "stopgrad", "coupled": True, "clip": 0.2},
    ),
    "stopgrad-adamw-no-rate": (
        [*STOPGRAD, "objective.weights.rate=0", "optim.clip_norm=null", "optim.decay_on=all"],
        {"teacher": "stopgrad", "rate": 0.0, "clip": None},
    ),
}
FIXED = {
    "rate": 0.3,
    "lr": 0.01,
    "warmup": STEPS_PER_EPOCH,
    "floor": 0.1,
    "decay": 0.2,
    "betas": (0.8, 0.95),
    "coupled": False,
    "tau": None,
}


@pytest.mark.parametrize("case", CASES)
def test_several_steps_equal_those_of_a_plain_implementation(case):
    more, settings = CASES[case]
    run = presets.load(
        "cifar100_aug_30", [*SETTINGS, *more], {"epochs": HORIZON, "eval.probe_epochs": [1], "gates": {}}
    )
    assert run.steps_per_epoch == STEPS_PER_EPOCH
    torch.manual_seed(3)
    method = SeqJEPA(run, 3, reference_loop.ACTION).double().train()
    optimiser = make_optimiser(run, method)
    # norms, biases and the token are not decayed unless asked for
    matrices = {name for name, p in method.named_parameters() if p.ndim > 1 and name != "aggregator.token"}
    decayed = set(map(ours_to_plain, dict(method.named_parameters()) if "optim.decay_on=all" in more else matrices))
    plain = Plain(method, **{**FIXED, **settings}, decayed=decayed)
    numbers = torch.Generator().manual_seed(5)
    for step in range(7):
        views = torch.randn(BATCH, 4, 3, 10, 10, generator=numbers, dtype=torch.float64)
        actions = torch.randn(BATCH, 3, reference_loop.ACTION, generator=numbers, dtype=torch.float64)
        batch = {"observed": list(views[:, :3].unbind(1)), "target": [views[:, 3]], "actions": actions}
        _, loss = optimise(run, step, method, method, optimiser, batch)
        assert float(loss.detach()) == pytest.approx(plain(step, views, actions), rel=1e-9), step
        theirs = dict(plain.model.named_parameters())
        for name, p in method.named_parameters():
            assert torch.allclose(p, theirs[ours_to_plain(name)], rtol=1e-7, atol=1e-8), (step, name)
    for norms in plain.norms:
        assert plain.clip is None or (norms[""] > plain.clip) == (plain.clip < 1)  # it acted, or did not
        for part in ("encoder.", "aggregator.", "predictor.", "action."):  # and no part was too small to matter
            assert max(value for name, value in norms.items() if name.startswith(part)) > 1e-4
