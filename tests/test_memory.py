"""The memory guard: measured, limited, recognised, and the rule in between."""

import types

import pytest
import torch

from trainer.errors import UsageError
from trainer.workers import memory

GIB = 2**30
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def device(monkeypatch):
    """A pretended CUDA device of 80 GiB; what torch is told to limit is noted."""
    limits = []
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 10 * GIB)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(total_memory=80 * GIB)
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda fraction, device: limits.append((fraction, device))
    )
    return limits


def test_the_peak_counts_what_the_allocator_does_not_see(device):
    assert memory.measured(CUDA) == {"peak_bytes": 10 * GIB + memory.CONTEXT_BYTES, "total_bytes": 80 * GIB}
    assert memory.measured(CPU) is None and memory.measured(torch.device("mps")) is None


def test_a_process_that_serves_several_trials_measures_each(device, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    memory.start_measuring(CPU)
    assert calls == []
    memory.start_measuring(CUDA)
    assert calls == ["empty", "reset"]  # in this order: a peak starts at what is still held


def test_a_share_limits_the_allocator_and_leaves_room_for_the_context(device):
    memory.limit_share(CUDA, 0.5)
    [(fraction, where)] = device
    assert where == CUDA
    # k processes of 1/k fit the device, contexts included
    assert 2 * (fraction * 80 * GIB + memory.CONTEXT_BYTES) == pytest.approx(80 * GIB)


def test_a_whole_device_and_other_devices_are_not_limited(device):
    memory.limit_share(CUDA, 1)
    memory.limit_share(CUDA, 2)
    memory.limit_share(CPU, 0.5)
    assert device == []


@pytest.mark.parametrize("share", [0, -0.5, float("nan")])
def test_no_share_is_refused(device, share):
    for where in (CUDA, CPU):
        with pytest.raises(UsageError, match="must be above 0"):
            memory.limit_share(where, share)


def test_a_share_that_the_context_fills_is_refused_with_one_that_works(device):
    with pytest.raises(UsageError, match="0.005 of 80.0 GiB") as refused:
        memory.limit_share(CUDA, 0.005)
    memory.limit_share(CUDA, float(str(refused.value).split()[-1]))
    assert len(device) == 1


@pytest.mark.parametrize(
    "peak, share, advice",
    [
        (36, 0.5, None),
        (36.4, 0.5, "1"),
        (20, 0.25, "0.3333"),
        (20, 0.1, "0.3333"),
        (9, 0.1, "0.125"),
        (60, 0.5, "1"),
        (72, 1, None),
    ],
)
def test_the_rule(peak, share, advice):
    """With 10 % to spare on 80 GiB; advice is the smallest 1/k that fits."""
    answer = memory.fits(int(peak * GIB), 80 * GIB, share)
    if advice is None:
        assert answer is None
    else:
        assert answer.endswith(f"set --gpus-per-trial {advice}") and "\n" not in answer


def test_the_advice_fits_and_as_many_trials_as_it_says_fit_the_device():
    for peak in range(15, 800):
        answer = memory.fits(peak, 1000, 0.0001)
        advised = float(answer.split()[-1])
        assert memory.fits(peak, 1000, advised) is None
        count = int(1 / advised)
        assert count * advised <= 1 + 1e-12  # 1/6 is 0.1666: six of 0.1667 would be too many
        # a smaller fraction of this kind does not fit
        assert memory.fits(peak, 1000, int(1e4 / (count + 1)) / 1e4) is not None


def test_the_margin_counts_and_the_numbers_are_said():
    assert memory.fits(39 * GIB, 80 * GIB, 0.5, margin=0.0) is None
    answer = memory.fits(39 * GIB, 80 * GIB, 0.5)
    assert (
        answer
        == "a trial needs 42.9 GiB of GPU memory (39.0 measured + 10 %), --gpus-per-trial 0.5 gives 40.0 of 80.0: set"
        " --gpus-per-trial 1"
    )


def test_more_than_the_device_holds_is_no_matter_of_shares():
    assert memory.fits(75 * GIB, 80 * GIB, 0.5).endswith("the whole device has 80.0: set a smaller optim.batch_size")
    # several devices hold no more of one process
    assert memory.fits(75 * GIB, 80 * GIB, 2) is not None


@pytest.mark.parametrize("wrong", [(-1, 80, 0.5), (1, 0, 0.5), (1, 80, 0), (1, 80, float("nan")), (1, 80, 0.5, -0.1)])
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="peak_bytes = "):
        memory.fits(*wrong)


def caused_by(error, by, how="__cause__"):
    setattr(error, how, by)
    return error


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "error",
    [
        OUT,
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
            " bytes"
        ),
        MemoryError(),
        type("OutOfMemoryError", (Exception,), {})("the node ran low on memory"),
        caused_by(ValueError("a trial failed"), OUT),
        caused_by(ValueError("a trial failed while failing"), OUT, "__context__"),
        caused_by(ValueError("deeper"), caused_by(ValueError("wrapped"), OUT)),
        caused_by(ValueError("an attribute"), OUT, "cause"),
        caused_by(ValueError("a group"), {3: OUT}, "worker_failures"),
    ],
    ids=lambda error: type(error).__name__ + str(error)[:12],
)
def test_out_of_memory_is_recognised(error):
    assert memory.is_out_of_memory(error)


def test_rays_wrapped_errors_are_looked_through():
    from ray.exceptions import RayTaskError
    from ray.train.v2.api.exceptions import WorkerGroupError

    task = RayTaskError("trial", "Traceback ...", OUT)
    assert task.__cause__ is None and memory.is_out_of_memory(task)
    assert memory.is_out_of_memory(task.as_instanceof_cause())
    assert memory.is_out_of_memory(WorkerGroupError("a worker failed", {1: OUT}))
    assert not memory.is_out_of_memory(RayTaskError("trial", "Traceback ...", ValueError("CUDA")))


@pytest.mark.parametrize(
    "error", [ValueError("out of memory, it says"), RuntimeError("CUDA error: an assert"), KeyboardInterrupt()]
)
def test_other_errors_are_not(error):
    assert not memory.is_out_of_memory(error)


def test_errors_that_cause_each_other_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__context__ = two, one
    assert not memory.is_out_of_memory(one)


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="the allocator's own limit: needs CUDA, run by make gpu; the rule and the calls are tested above",
)
def test_an_overrun_is_this_process_own_error_on_cuda():
    device = torch.device("cuda", 0)
    total = torch.cuda.get_device_properties(device).total_memory
    share = 0.05 + memory.CONTEXT_BYTES / total
    try:
        memory.limit_share(device, share)
        with pytest.raises(torch.OutOfMemoryError) as failed:
            torch.empty(int(0.06 * total), dtype=torch.uint8, device=device)
        assert memory.is_out_of_memory(failed.value)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
