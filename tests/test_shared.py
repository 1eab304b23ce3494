"""One copy of the images per node: decoded once, mapped by all, written to by nobody."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from forked import Program
from on_disk import write_cifar100

from trainer import presets
from trainer.config import DataConfig, GlimpseConfig
from trainer.data import shared, shared_key
from trainer.data.images import load_images
from trainer.data.store import MappedImages, ResidentImages
from trainer.data.views import Views
from trainer.errors import UsageError

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The node's folder of sets, for this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / f"seq-jepa-images-{os.getuid()}"


@pytest.fixture
def decoded(monkeypatch):
    """How often this process decoded a set."""
    calls = []

    def counted(config):
        calls.append(config.data.name)
        return load_images(config)

    monkeypatch.setattr(shared, "load_images", counted)
    return calls


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    root = tmp_path_factory.mktemp("cifar")
    write_cifar100(root)
    return ["data.sizes=[100,100,100]", f"runtime.data_root={root}", "runtime.own_files=true"]


def digits(*overrides):
    return presets.load("digits", ["optim.batch_size=16", *overrides])


def cifar_config(cifar, *overrides):
    return presets.load("cifar100_aug_gate", ["optim.batch_size=16", *cifar, *overrides])


def stored(folder):
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock")


PROGRAM = """
import sys, time
from trainer import presets
from trainer.data import shared
real = shared.load_images
def decode(config):
    print("decodes", flush=True)
    time.sleep({delay})
    return real(config)
shared.load_images = decode
{before}
images = shared.shared_images(presets.load("digits", ["optim.batch_size=16"]))
print("ready", int(images.images[images.splits["train"]].sum()), flush=True)
{then}
"""


def process(then="", delay=0, before=""):
    """Another process that asks for the digits, taking ``delay`` seconds if it decodes, then does something."""
    return Program(PROGRAM.format(delay=delay, then=then, before=before), {"TMPDIR": os.environ["TMPDIR"]})


@pytest.mark.parametrize("name", ["digits", "cifar100"])
def test_the_same_batch_bits_as_from_a_copy_of_ones_own(name, cifar):
    config = digits() if name == "digits" else cifar_config(cifar)
    sources = [load_images(config), shared.shared_images(config), shared.shared_images(config)]
    own, *others = [Views(config, images.to(CPU, 8192), torch.float32) for images in sources]
    assert all(isinstance(source.images, ResidentImages) for source in sources[1:])
    for _ in range(4):
        expected = own.next()
        for views in others:
            batch = views.next()
            assert batch.keys() == expected.keys()
            for key, value in expected.items():
                pairs = zip(value, batch[key], strict=True) if isinstance(value, list) else [(value, batch[key])]
                assert all(torch.equal(a, b) for a, b in pairs), key
    assert len({source.split_hash for source in sources}) == 1 and len({source.classes for source in sources}) == 1


def test_everything_of_a_set_is_kept():
    glimpses = ["data.transform=glimpse", "data.generated=true", "data.sizes=[40,20,20]", "optim.batch_size=8"]
    config = presets.load("cifar100_aug_gate", glimpses)
    own, mapped = load_images(config), shared.shared_images(config)
    assert torch.equal(mapped.images[torch.arange(len(own.images))], own.images)
    assert torch.equal(mapped.labels, own.labels)
    for kind in ("splits", "extras"):
        a, b = getattr(own, kind), getattr(mapped, kind)
        assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)
    assert mapped.extras.keys() == {"saliency"}


def test_the_second_time_nothing_is_decoded(decoded, folder):
    for _ in range(2):
        shared.shared_images(digits())
    assert decoded == ["digits"]
    code, lines, _ = process().finished()
    assert code == 0 and len(lines) == 1 and lines[0].startswith("ready")
    assert len(stored(folder)) == 1


def test_processes_that_start_together_decode_once(folder):
    others = [process(delay=2) for _ in range(3)]
    results = [other.finished() for other in others]
    assert [code for code, _, _ in results] == [0] * 3
    assert sum(lines.count("decodes") for _, lines, _ in results) == 1
    assert len({lines[-1] for _, lines, _ in results}) == 1
    assert len(stored(folder)) == 1


@pytest.mark.parametrize("when", ["decoding", "writing"])
def test_a_killed_writer_leaves_nobody_waiting_or_reading_half_a_file(when, folder, decoded):
    # the file is complete and not yet under its name when fsync is called
    stuck = "shared.os.fsync = lambda number: (print('writes', flush=True), time.sleep(600))"
    first = process(delay=600) if when == "decoding" else process(before=stuck)
    assert first.stdout.readline() == "decodes\n"
    if when == "writing":
        assert first.stdout.readline() == "writes\n"
    waiting = process()
    time.sleep(1)
    assert waiting.poll() is None
    assert [path.suffix for path in stored(folder)] == ([".tmp"] if when == "writing" else [])
    first.kill()
    code, lines, _ = waiting.finished()
    assert code == 0 and lines[0] == "decodes" and lines[1].startswith("ready")
    [path] = stored(folder)  # what the killed process left is gone
    assert path.suffix != ".tmp"
    shared.shared_images(digits())
    assert decoded == []


def test_an_ordinary_write_is_a_python_error():
    images = shared.shared_images(digits()).images
    with pytest.raises(TypeError):
        images[torch.tensor([0])] = 7
    with pytest.raises(TypeError):
        images[:] = 0
    public = [getattr(images, name) for name in dir(images) if not name.startswith("_")]
    assert not any(isinstance(value, torch.Tensor) for value in public)
    # what is handed out is a copy
    index = torch.tensor([0])
    before = images[index].clone()
    images[index].fill_(7)
    images.merged()
    assert torch.equal(images[index], before)


@pytest.mark.parametrize("how", ["[0] = 7", ".numpy()[:] = 7", ".data.zero_()"])
def test_a_write_behind_that_fails_and_the_next_reader_sees_the_original(how):
    mapped = shared.shared_images(digits())
    before = mapped.images[torch.arange(len(mapped.images))]
    code, lines, _ = process(then=f"images.images._tensor{how}\nprint('wrote')").finished()
    assert code == -signal.SIGSEGV and "wrote" not in lines
    everything = torch.arange(len(before))
    assert torch.equal(mapped.images[everything], before)
    assert torch.equal(shared.shared_images(digits()).images[everything], before)


def test_extras_are_protected_and_labels_are_ones_own():
    add = (
        "read = real; real = lambda config: (lambda made: (made.extras.update(hue=made.labels.float()),"
        " made)[1])(read(config))"
    )
    code, lines, _ = process(
        before=add, then="print(float(images.extras['hue'].sum()), flush=True); images.extras['hue'][0] = 7"
    ).finished()
    assert code == -signal.SIGSEGV and float(lines[-1]) > 0
    images = shared.shared_images(digits())
    images.labels.zero_()
    images.splits["train"].zero_()
    again = shared.shared_images(digits())
    assert again.labels.any() and again.splits["train"].any()


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(),
    reason="only Linux says whose pages a mapping has; that a write reaches nobody is tested above, without /proc",
)
def test_the_memory_is_really_shared(folder):
    """Two processes have read every image; the kernel says whose pages they are."""
    look = (
        "sys.stdin.readline(); print(open('/proc/self/smaps').read().replace(chr(10), '|'), flush=True);"
        " sys.stdin.readline()"
    )
    others = [process(then=look) for _ in range(2)]
    for other in others:
        while not other.stdout.readline().startswith("ready"):
            pass
    [path] = stored(folder)
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
        lines = other.stdout.readline().split("|")
        [start] = [number for number, line in enumerate(lines) if line.endswith(str(path))]
        facts = dict(re.findall(r"(\w+): +(\d+) kB", " ".join(lines[start + 1 : start + 15])))
        assert lines[start].split()[1] == "r--s"
        assert int(facts["Private_Dirty"]) == int(facts["Shared_Dirty"]) == int(facts["Private_Clean"]) == 0
        assert int(facts["Shared_Clean"]) == int(facts["Rss"]) >= 1797 * 64 // 1024
    for other in others:
        other.finished()


def test_a_warning_free_start():
    """All that is imported included, and so in an interpreter of its own."""
    shared.shared_images(digits())
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(delay=0, then="", before="")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("ready")


OTHER_SETS = [
    ["data.sizes=[90,100,100]"],
    ["data.pretrain_on=train_and_validation"],
    ["data.generated=true"],
]
SAME_SET = [
    ["data.augment.flip=0.1"],
    ["data.observed_views=2"],
    ["optim.lr=0.1"],
    ["runtime.resident_mib=1"],
    ["seed=3"],
]


def test_other_data_get_another_file(cifar, folder, decoded):
    shared.shared_images(cifar_config(cifar))
    for count, overrides in enumerate(OTHER_SETS, start=2):
        own = load_images(cifar_config(cifar, *overrides))
        mapped = shared.shared_images(cifar_config(cifar, *overrides))
        assert (
            torch.equal(mapped.images[torch.arange(len(own.images))], own.images)
            and mapped.split_hash == own.split_hash
        )
        assert len(stored(folder)) == count
    for overrides in SAME_SET:
        shared.shared_images(cifar_config(cifar, *overrides))
    assert len(stored(folder)) == len(decoded) == 1 + len(OTHER_SETS)


def test_changed_files_get_another_file(tmp_path, folder, decoded):
    write_cifar100(tmp_path / "data")
    config = presets.load(
        "cifar100_aug_gate",
        [
            "optim.batch_size=16",
            "data.sizes=[100,100,100]",
            f"runtime.data_root={tmp_path}/data",
            "runtime.own_files=true",
        ],
    )
    shared.shared_images(config)
    path = tmp_path / "data" / "cifar-100-python" / "train"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    shared.shared_images(config)
    assert len(decoded) == 2


def test_changed_code_or_versions_get_another_file(monkeypatch, folder, decoded):
    shared.shared_images(digits())
    for changed in ({"_code": lambda: ["other code"]}, {"FORMAT": 99}):
        with monkeypatch.context() as patch:
            for name, value in changed.items():
                patch.setattr(shared_key, name, value)
            shared.shared_images(digits())
    assert len(stored(folder)) == len(decoded) == 3


def test_settings_left_out_of_the_name_exist_and_the_rest_counts():
    """A field that is added later makes another file until somebody lists it as one of the views'."""
    assert shared_key.VIEWS_ONLY <= DataConfig.model_fields.keys()
    assert shared_key.GLIMPSE_ONLY <= GlimpseConfig.model_fields.keys()
    # read by load_images
    assert DataConfig.model_fields.keys() - shared_key.VIEWS_ONLY == {
        "name",
        "glimpse",
        "pretrain_on",
        "sizes",
        "unlabelled",
        "generated",
    }
    assert GlimpseConfig.model_fields.keys() - shared_key.GLIMPSE_ONLY == {"saliency", "map_sha256"}
    glimpses = ["data.transform=glimpse", "data.generated=true", "data.sizes=[40,20,20]", "optim.batch_size=8"]
    maps = [
        presets.load("cifar100_aug_gate", [*glimpses, f"data.glimpse.saliency={s}"])
        for s in ("uniform", "centre_surround")
    ]
    assert shared_key.set_name(maps[0]) != shared_key.set_name(maps[1])


@pytest.mark.parametrize("damage", ["truncated", "empty", "a bit", "header", "another name"])
def test_a_damaged_file_is_rejected_and_made_again(damage, folder, decoded, capfd):
    everything = torch.arange(1797)
    before = shared.shared_images(digits()).images[everything]
    [path] = stored(folder)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[5000] ^= 1
    elif damage == "header":
        content[20] ^= 1
    elif damage == "another name":
        shared.shared_images(digits("data.sizes=[50,50,50]"))
        content = bytearray(next(p for p in stored(folder) if p != path).read_bytes())
    # a new file: readers of the old one keep it
    path.unlink()
    path.write_bytes(content[: 0 if damage == "empty" else len(content) // 2 if damage == "truncated" else None])
    decoded.clear()
    assert torch.equal(shared.shared_images(digits()).images[everything], before)
    assert decoded == ["digits"] and "is damaged: it is made again" in capfd.readouterr().err
    shared.shared_images(digits())
    assert decoded == ["digits"]


def test_a_full_disk_costs_a_copy_and_one_line(monkeypatch, folder, decoded, capfd):
    monkeypatch.setattr(shared.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10))
    images = shared.shared_images(digits())
    assert torch.equal(images.images, load_images(digits()).images)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "not shared" in lines[0] and "MiB free" in lines[0] and "TMPDIR" in lines[0]
    assert stored(folder) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(monkeypatch, folder, capfd):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared.os, "fsync", full)
    assert shared.shared_images(digits()).labels.any()
    assert "No space left" in capfd.readouterr().err and stored(folder) == []


def test_a_folder_that_others_can_write_to_is_refused(folder, decoded, capfd, tmp_path):
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    shared.shared_images(digits())
    assert "mode 777" in capfd.readouterr().err and stored(folder) == []
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    shared.shared_images(digits())
    assert "must be a folder" in capfd.readouterr().err and list((tmp_path / "elsewhere").iterdir()) == []


def test_another_users_folder_is_refused(folder, capfd, monkeypatch):
    """Seen from the other side, which needs no right to give a folder away: here somebody else asks for ours."""
    owner, stranger = os.getuid(), os.getuid() + 1
    theirs = folder.with_name(f"seq-jepa-images-{stranger}")
    theirs.mkdir(mode=0o700)
    monkeypatch.setattr(shared.os, "getuid", lambda: stranger)
    shared.shared_images(digits())
    assert f"it has user {owner}" in capfd.readouterr().err and stored(theirs) == []


def test_files_are_this_users_alone(folder):
    shared.shared_images(digits())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in stored(folder)] == [0o400]


def test_sets_unused_for_a_week_are_removed(folder, decoded):
    used, unused = digits(), digits("data.sizes=[50,50,50]")
    for config in (used, unused):
        shared.shared_images(config)
    mapped = shared.shared_images(unused)
    before = mapped.images[torch.arange(1797)]
    for path in folder.iterdir():
        os.utime(path, (0, time.time() - shared.KEEP_SECONDS - 60))
    shared.shared_images(used)  # use counts
    shared.shared_images(digits("data.sizes=[60,50,50]"))  # writing sweeps
    names = {path.name for path in stored(folder)}
    assert shared_key.set_name(used) in names and shared_key.set_name(unused) not in names and len(names) == 2
    assert torch.equal(mapped.images[torch.arange(1797)], before)  # who still maps it keeps it
    shared.shared_images(unused)
    assert len(decoded) == 4


def test_shards_above_the_budget_stay_shards_and_below_it_become_one_copy(monkeypatch, folder):
    own = load_images(digits())
    mapped = MappedImages([part.numpy() for part in own.images.split(500)])

    def from_shards(config):
        return type(own)(mapped, own.labels, own.splits, own.split_hash, own.classes, own.extras)

    monkeypatch.setattr(shared, "load_images", from_shards)
    monkeypatch.setattr(shared, "math", types.SimpleNamespace(prod=lambda shape: 2**40))
    assert shared.shared_images(digits()).images is mapped and stored(folder) == []
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(folder.parent))
    monkeypatch.setattr(shared, "load_images", from_shards)
    images = shared.shared_images(digits()).images
    assert isinstance(images, ResidentImages) and torch.equal(images[torch.arange(1797)], own.images)


def test_an_error_of_the_reader_is_the_readers(tmp_path):
    config = presets.load("cifar100_aug_gate", [f"runtime.data_root={tmp_path / 'nowhere'}"])
    with pytest.raises(UsageError, match="nowhere"):
        shared.shared_images(config)


def test_images_beyond_the_devices_budget_stay_in_the_shared_copy():
    images = shared.shared_images(digits())
    placed = images.to(CPU, 1).to(CPU, 0)
    assert placed.images is images.images
    elsewhere = images.to(torch.device("meta"), 8192)
    assert elsewhere.images.device.type == "meta" and images.images.device == CPU
