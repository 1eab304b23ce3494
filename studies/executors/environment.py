"""What of the user's environment Ray and the trials are given: what they need, and nothing that could be a secret. No
ray."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

# what Python, torch, the GPU libraries, Ray and the mirror look at; everything else stays with the driver
NEEDED = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TMP TEMP PWD HOSTNAME TERM COLUMNS LINES VIRTUAL_ENV CC CXX"
    " CPATH LIBRARY_PATH REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NO_PROXY HTTP_PROXY HTTPS_PROXY ALL_PROXY".split()
)
NEEDED_PREFIXES = tuple(
    "CUDA CUDNN CUBLAS NVIDIA_ NCCL_ GLOO_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ NUMEXPR_ VECLIB_ ATEN_ ONEDNN_ DNNL_ NPY_"
    " TORCH PYTORCH_ TRITON_ HIP_ HSA_ ROCR_ PYTHON CONDA_ LC_ LD_ DYLD_ MALLOC_ GLIBC_ RAY_ TUNE_ WANDB_ SEQ_JEPA_"
    " XDG_ SSL_ SLURM_ COVERAGE_ COV_".split()
)
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH|JWT|COOKIE|(^|_)(KEY|PAT|DSN|PASS|PWD|PW)$",
    re.IGNORECASE,
)
_NO_SECRET = frozenset(("PWD", "OLDPWD", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "SSH_AUTH_SOCK", "XAUTHORITY"))
_PASSWORD_IN_URL = re.compile(r"\w+://[^\s/:@]*:([^\s/@]+)@")
MIRROR = ("WANDB_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""What the one process that talks to Weights & Biases may need although it is secret."""


def is_secret(name: str, value: str) -> bool:
    """Whether a variable must not leave the driver, by its name or because a password is in its value."""
    by_name = _SECRET_NAME.search(name) is not None and name not in _NO_SECRET
    return by_name or _PASSWORD_IN_URL.search(value) is not None


def is_needed(name: str, value: str) -> bool:
    return (name.upper() in NEEDED or name.startswith(NEEDED_PREFIXES)) and not is_secret(name, value)


def needed(environment: Mapping[str, str]) -> dict[str, str]:
    """What of it a trial's process is given."""
    return {name: value for name, value in environment.items() if is_needed(name, value)}


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Values that no log or record may repeat, with the passwords inside URLs on their own too."""
    found: set[str] = set()
    for name, value in environment.items():
        if value and is_secret(name, value):
            found |= {value, *_PASSWORD_IN_URL.findall(value)}
    return sorted(found, key=len, reverse=True)


def for_mirror(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.upper() in MIRROR and is_secret(name, value)}


@contextmanager
def only_needed(
    environment: MutableMapping[str, str] = os.environ, keep: frozenset[str] = frozenset()
) -> Iterator[None]:
    """While this lasts, the environment holds what is needed: what processes inherit and what Ray copies and logs.

    Args:
        keep: names to leave although they are secret.
    """
    before = dict(environment)
    for name, value in before.items():
        if name not in keep and not is_needed(name, value):
            del environment[name]
    try:
        yield
    finally:
        environment.clear()
        environment.update(before)
