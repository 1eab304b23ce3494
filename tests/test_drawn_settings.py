"""Settings drawn at random train to finite numbers, and a run that is stopped has the same record in the end."""

import random

import pytest
from drawn_settings import AROUND, drawn

from trainer import loop
from trainer.data.images import load_images
from trainer.record.identity import run_id
from trainer.record.run import comparable, read
from trainer.step import Step

pytestmark = pytest.mark.usefixtures("few_steps")


class Stopped(BaseException):
    """As a kill: nothing is said or written after it."""


def record(config, folder):
    lines = list(read(folder / run_id(config) / "records.jsonl"))
    return [comparable(line) for line in lines if line["event"] in ("epoch", "eval", "stop")]


@pytest.mark.parametrize("name", AROUND)
def test_what_is_accepted_trains_and_a_stop_changes_nothing(name, tmp_path, monkeypatch):
    config, words = drawn(name, 0)
    images = load_images(config)
    assert loop.train(config, tmp_path / "whole", images=images)["stopped"] == "completed", words
    whole = record(config, tmp_path / "whole")
    # a probe may have nothing to read: the pose of a first view that is left as it is
    unknown = [
        key for line in whole for key, value in line["metrics"].items() if value is None and not key.startswith("r2_")
    ]
    assert not unknown, (words, unknown)
    last = random.Random(name).randrange(config.epochs * config.steps_per_epoch)

    class Until(Step):
        def __call__(self, step):
            if step == last:
                raise Stopped
            return super().__call__(step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Step", Until)
        with pytest.raises(Stopped):
            loop.train(config, tmp_path / "stopped", images=images)
    loop.train(config, tmp_path / "stopped", images=images)
    assert record(config, tmp_path / "stopped") == whole, words
