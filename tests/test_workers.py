"""Two workers on the same global batch compute what one computes: double precision, 20 steps, 1e-9."""

import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from process_group import join, together
from small import config, method, views
from torch.nn.parallel import DistributedDataParallel

from trainer import checkpoint, world
from trainer.errors import UsageError
from trainer.loop import train
from trainer.record.identity import run_id
from trainer.step import given, make_optimiser, total_loss

STEPS = 20


ARMS = {
    "ema-both": ("objective.teacher=ema", "objective.weights.rate=0.3", "objective.rate.on=both"),
    "shared-log": ("objective.teacher=shared", "objective.weights.rate=0.1", "objective.rate.form=log"),
    "symmetric-dino-controls": (
        "objective.teacher=ema", "objective.target_bn=ema_buffers_eval", "objective.symmetric=true",
        "objective.sharpen.form=dino",
        "objective.weights.sigreg=0.02", "objective.weights.vicreg=0.1",
    ),
    "unconditioned-log-cosine": ("model.condition=none", "objective.double_bn=true",
    "objective.sharpen.form=log_cosine"),
}  # fmt: skip


def run_steps(rank, world, place, digits, queue):
    torch.set_num_threads(1)
    join(place, rank, world)
    results = {
        name: [part.numpy() for part in steps_of(rank, world, digits, overrides)] for name, overrides in ARMS.items()
    }
    if rank == 0:
        queue.put(results)
    dist.destroy_process_group()
    # a gloo thread that outlives its group can abort the process while the interpreter ends
    assert not gloo_threads()


def gloo_threads():
    tasks = Path("/proc/self/task")
    return (
        [name for task in tasks.iterdir() if "gloo" in (name := (task / "comm").read_text())] if tasks.is_dir() else []
    )


def steps_of(rank, world, digits, overrides):
    run = config("precision=fp64", "optim.batch_size=32", *overrides)
    source, model = views(run, digits, rank, world), method(run)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    optimiser = make_optimiser(run, model)
    losses, gradients = [], []
    for step in range(STEPS):
        output = wrapped(source.next())
        loss = total_loss(output.terms, run.objective.weights.model_dump())
        optimiser.zero_grad()
        loss.backward()
        terms = torch.stack([loss.detach(), output.terms["predict"].detach(), output.terms["rate"].detach()])
        if world > 1:
            dist.all_reduce(terms)
            terms /= world
        losses.append(terms)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        optimiser.step()
        model.after_step(given(model.schedule(step)))
    return torch.stack(losses), torch.stack(gradients), torch.cat([b.flatten().double() for b in model.buffers()])


@pytest.fixture(scope="module")
def of_two(digits):
    """What two workers computed for every arm; starting them takes longer than their steps."""
    return together(2, run_steps, digits)[0]


@pytest.mark.parametrize("arm", ARMS)
def test_two_workers_equal_one(digits, of_two, arm):
    one, two = steps_of(0, 1, digits, ARMS[arm]), map(torch.from_numpy, of_two[arm])
    for name, a, b in zip(("losses", "gradients", "batch-norm buffers"), one, two, strict=True):
        error = ((a - b).norm(dim=-1) / a.norm(dim=-1)).max()
        assert float(error) < 1e-9, f"{name}: {float(error):.1e}"


def train_late(rank, world, place, folder, queue):
    """The second worker looks for a checkpoint when the first has had the time to write one."""
    torch.set_num_threads(1)
    signal.alarm(120)  # workers that wait for each other would wait for ever
    join(place, rank, world)
    run = config("optim.batch_size=32", "data.sizes=[128,64,64]", epochs=1)
    path, load = folder / run_id(run) / checkpoint.NAME, checkpoint.load

    def late(*arguments):
        until = time.monotonic() + 5
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return load(*arguments)

    if rank == 1:
        checkpoint.load = late
    queue.put(train(run, folder)["stopped"])
    dist.destroy_process_group()


def test_a_worker_that_looks_late_starts_where_the_first_one_does(tmp_path):
    assert together(2, train_late, tmp_path, answers=2) == ["completed"] * 2


def test_a_worker_that_sees_no_checkpoint_where_the_first_does_says_so(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(world, "rank", lambda: 1)
    monkeypatch.setattr(world, "share_from_first", lambda item: False)  # the first goes on from one
    with pytest.raises(UsageError, match="worker 1 sees no checkpoint where the first one does; give all one folder"):
        train(config(epochs=1), tmp_path, images=digits)
