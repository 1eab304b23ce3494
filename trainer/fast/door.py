"""The one way from the loop to everything that makes a step faster."""

from __future__ import annotations

import sys
from collections.abc import Callable

from trainer import world
from trainer.fast import accelerate
from trainer.fast.captured import CapturedStep
from trainer.source import Plannable
from trainer.step import Learner, Learnt, Step


def fast_step(learner: Learner, source: Plannable) -> Callable[[int], Learnt]:
    """What trains on the batch of a step's number, compiled.

    With CUDA and one worker the whole step becomes one graph; elsewhere kernels are exchanged, and a line on stderr
    says whether it pays.
    """
    if learner.device.type == "cuda" and world.size() == 1:
        learner.evaluate = accelerate.on_cuda(learner.evaluate, source, learner.optimiser, *learner.probes.optimisers)
        return CapturedStep(source, learner, learner.rates, learner.device)
    example = source.render(source.plan(source.step))
    model, line = accelerate.whether_it_pays(
        learner.config,
        learner.method,
        learner.model,
        learner.device,
        example,
        lambda model, batch: learner.evaluator(model)(batch)[1],
    )
    print(line, file=sys.stderr)
    learner.model, learner.evaluate = model, learner.evaluator(model)
    return Step(source, learner, learner.rates)
