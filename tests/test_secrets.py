"""What counts as a secret, what Ray is given of the environment, and how texts are rid of secrets."""

import os
import random
import string
from pathlib import Path

import pytest

from studies.executors import environment
from studies.executors.private_folder import write_private
from trainer.redaction import HIDDEN, marks, redact
from trainer.workers.failure import Told, chain, describe
from trainer.workers.task import mirror_environment


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "VAST_API_KEY",
        "GITHUB_TOKEN", "HF_TOKEN", "MYSQL_PWD",
        "DB_PASSWORD", "PGPASSWORD", "GPG_PASSPHRASE", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_PRIVATE_KEY",
        "SENTRY_DSN", "RAY_AUTH_TOKEN",
        "SLURM_JWT", "CONDA_TOKEN", "my_secret", "RAY_REDIS_PASSWORD", "PYTHON_API_KEY",
    ],
)  # fmt: skip
def test_secret_by_name(name):
    assert environment.is_secret(name, "whatever") and not environment.is_needed(name, "whatever")


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "PWD",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN_PATH",
        "WANDB_BASE_URL",
        "WANDB_MODE",
        "LC_ALL",
    ],
)
def test_needed(name):
    assert environment.is_needed(name, "/some/value")


def test_a_password_in_a_value_is_one_whatever_the_name():
    url = "postgres://me:hunter2hunter2@db/x"
    for name in ("DATABASE_URL", "WANDB_BASE_URL", "HTTP_PROXY", "PATH"):
        assert environment.is_secret(name, url) and not environment.is_needed(name, url)
    assert environment.is_needed("HTTP_PROXY", "http://proxy:3128") and environment.is_needed(
        "https_proxy", "http://proxy:3128"
    )
    assert set(environment.secret_values({"A": url})) == {url, "hunter2hunter2"}


def test_only_what_is_needed_is_left_and_all_comes_back():
    given = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x" * 20,
        "ANYTHING": "else",
        "WANDB_API_KEY": "k" * 40,
        "RAY_AUTH_TOKEN": "t" * 20,
    }
    before = dict(given)
    with environment.only_needed(given, keep=frozenset(("RAY_AUTH_TOKEN",))):
        assert given == {"PATH": "/bin", "RAY_AUTH_TOKEN": "t" * 20}
        given["TUNE_X"] = "1"
    assert given == before
    assert environment.for_mirror(before) == {"WANDB_API_KEY": "k" * 40}


def test_the_key_is_in_the_mirrors_environment_only_while_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "before")
    write_private(tmp_path / "mirror", '{"WANDB_API_KEY": "key", "HTTPS_PROXY": "http://u:p@h"}')
    assert (tmp_path / "mirror").stat().st_mode & 0o777 == 0o600
    with pytest.raises(RuntimeError), mirror_environment(str(tmp_path / "mirror")):
        assert os.environ["WANDB_API_KEY"] == "key" and os.environ["HTTPS_PROXY"] == "http://u:p@h"
        raise RuntimeError
    assert "WANDB_API_KEY" not in os.environ and os.environ["HTTPS_PROXY"] == "before"
    with mirror_environment(None):
        assert "WANDB_API_KEY" not in os.environ
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "mirror", "again")


def test_marked_values_are_found_wherever_they_stand_and_cannot_be_read_from_the_marks():
    draw = random.Random(0)
    for _ in range(200):
        values = [
            "".join(draw.choices(string.ascii_letters + string.digits + "/+=é", k=draw.randint(8, 60)))
            for _ in range(draw.randint(1, 4))
        ]
        text = "".join(
            part for value in values for part in ("".join(draw.choices("ab \n'", k=draw.randint(0, 30))), value, value)
        )
        known = marks(values)
        assert not any(value in str(known) for value in values)
        cleaned, same = redact(text, known), redact(text, values=values)
        assert not any(value in cleaned or value in same for value in values) and HIDDEN in cleaned


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("could not reach postgres://me:pw@db.example/x", f"could not reach postgres://me:{HIDDEN}@db.example/x"),
        ("key AKIAIOSFODNN7EXAMPLE denied", f"key {HIDDEN} denied"),
        ("Authorization: Bearer abcdef0123456789", f"Authorization: Bearer {HIDDEN}"),
        ("api_key='0123456789abcdef'", f"api_key='{HIDDEN}'"),
        ("{'password': 'sesame', 'x': 1}", f"{{'password': '{HIDDEN}', 'x': 1}}"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_without_being_known(text, clean):
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
        "",
        "epoch 3: loss nan",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_ordinary_messages_stay_as_they_are(text):
    assert redact(text, marks(["something-secret"]), ["something-secret"]) == text


def test_a_failure_is_plain_data_with_every_cause_and_no_secret():
    secret = "marker-0123456789"
    try:
        try:
            raise OSError(f"inner {secret}")
        except OSError as error:
            raise RuntimeError(f"outer {secret}") from error
    except RuntimeError as error:
        failure = describe(error, lambda text: redact(text, marks([secret])))
    import json

    assert secret not in json.dumps(failure) and json.loads(json.dumps(failure)) == failure
    assert [part["types"][0] for part in failure["parts"]] == ["RuntimeError", "OSError"]
    assert "outer" in failure["trace"] and "inner" in failure["trace"]
    wrapped = RuntimeError("Ray's own words")
    wrapped.cause = Told(failure)
    assert describe(wrapped) == failure and str(Told(failure)) == f"inner {HIDDEN}" and len(list(chain(wrapped))) == 2


def test_nothing_reads_a_pickle_from_a_folder_that_others_can_write_to():
    """Ray makes its session folder writable for everyone: errors come as data, or from memory."""
    root = Path(environment.__file__).parent.parent
    for package in ("studies", "trainer", "analysis"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text()
            if path.name != "cifar.py":  # reads with an unpickler of its own
                assert not any(
                    words in text for words in ("pickle.load", "cloudpickle", "get_pickled_error", "pickled_error_file")
                ), path
