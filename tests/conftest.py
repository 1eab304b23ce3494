"""Tests run single-threaded: two torch threads on a shared machine are slower than one; and without W&B where they are
not about it, which takes seconds of each process."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import gc  # noqa: E402

import pytest  # noqa: E402
from interruptible import interruptible  # noqa: E402

interruptible()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What all test modules import stays: looking through it for garbage takes a tenth of importing it, and again in
    every test, and in every process that a test forks would copy it."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_unconfigure():
    gc.unfreeze()  # libraries look for what is left when the interpreter ends


@pytest.fixture(scope="session")
def digits():
    from trainer import presets
    from trainer.data.images import load_images

    return load_images(presets.load("digits"))


@pytest.fixture(scope="module")
def few_steps():
    """Probes are fitted in two steps, for modules in which nobody reads their scores: a fifth of a short run's time."""
    from trainer.probes import regression

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "STEPS", 2)
        yield


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)
