"""A training step never waits for its device, is one graph for a compiler, and keeps to a budget of launches.

What only a card can time is counted here: every call that would make a processor wait is refused while a step runs.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from small import config, views
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.families import seq_jepa
from trainer.fast.captured import CapturedStep
from trainer.step import Learner, make_optimiser

aten = torch.ops.aten
WAITS = {
    getattr(aten, name)
    for name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim")
}
"""Each needs a value, or a shape, that only the device knows."""
CPU = torch.device("cpu")


class Watched(TorchDispatchMode):
    """Counts the calls that launch something, and refuses those that wait."""

    def __init__(self):
        super().__init__()
        self.calls: Counter = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        by_mask = packet in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_) and any(
            chosen is not None and chosen.dtype in (torch.bool, torch.uint8) for chosen in args[1]
        )
        if packet in WAITS or by_mask:
            raise AssertionError(f"{func} waits for the device")
        returned = func._schema.returns
        if not (returned and returned[0].alias_info is not None and not returned[0].alias_info.is_write):  # a view
            self.calls[str(packet)] += 1
        return func(*args, **(kwargs or {}))


def prepared(digits, *overrides):
    """A learner, its source, and a step for a card's static tensors."""
    run = config(*overrides)
    source = views(run, digits)
    torch.manual_seed(0)
    method = seq_jepa.make(run, source)
    probes = seq_jepa.probes(run, digits, source, method, CPU)
    learner = Learner(run, CPU, method, method, make_optimiser(run, method), probes)
    return learner, source, CapturedStep(source, learner, learner.rates, CPU)


TEACHER = ["objective.teacher=ema", "objective.ema.half_life=0.1"]
SETTINGS = {
    "digits": [],
    "teacher": TEACHER,
    "symmetric": ["objective.symmetric=true", "optim.clip_norm=0.05"],
    "rate of both": ["objective.rate.on=both", *TEACHER],
    "log rate": ["objective.rate.form=log"],
    "sigreg and vicreg": ["objective.weights.sigreg=0.01", "objective.weights.vicreg=0.01"],
    "affine": ["data.transform=affine"],
    "bf16": ["precision=bf16"],
    "crate": ["model.aggregator=crate"],
    "tost": ["model.aggregator=tost"],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_step_waits_for_the_device(digits, name):
    learner, source, step = prepared(digits, *SETTINGS[name])
    step(0)  # what is made once may wait
    with Watched() as watched:
        kept, values = step(1)
        learner.probes.keep(kept)
        learner.meter.add(values)
    assert watched.calls.total() > 200


@pytest.mark.parametrize(
    "wait", ["float(x.sum())", "x[x > 0]", "x.nonzero()", "bool(x.sum() > 0)", "torch.equal(x, x)"]
)
def test_what_waits_is_noticed(wait):
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="waits for the device"), Watched():
        eval(wait, {"x": x, "torch": torch})


BUDGET = {"drawing and rendering": 188, "model": 310, "optimiser": 6, "online probe": 19, "meter": 6}
"""Launches of a digits step, views not counted; 160 of the first are the ten rounds of Philox. With one worker a card
runs them as one graph; a processor, and a card of several, pays for each."""


def test_a_step_keeps_to_a_budget_of_launches(digits):
    learner, source, step = prepared(digits)
    step(0)
    counted = {}

    def count(name, work):
        with Watched() as watched:
            done = work()
        counted[name] = counted.get(name, 0) + watched.calls.total()
        return done

    batch = count("drawing and rendering", lambda: source.render(source.plan(1)))
    output, loss = count("model", lambda: learner.evaluate(batch))
    learner.optimiser.zero_grad()
    count("model", loss.backward)
    count("optimiser", learner.optimiser.step)
    count("online probe", lambda: learner.probes.observe(output, batch))
    count("meter", lambda: learner.meter.add(learner.meter.values(output, loss)))
    assert all(counted[name] <= most for name, most in BUDGET.items()), counted


def test_a_step_is_one_graph_and_is_never_compiled_again(digits):
    learner, source, step = prepared(digits, *TEACHER)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    learner.evaluate = torch.compile(learner.evaluate, backend=backend, dynamic=False)
    for number in range(20):
        step(number)
    assert len(graphs) == 1
