"""A key pair for rented machines only: Ray copies the private half onto them, where the machine's owner can read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from clusters.vast.errors import VastError

DEFAULT = "~/.config/seq-jepa-studies/vast_ed25519"


def ensure(private: str) -> str:
    """The public key, after making the pair if there is none.

    Raises:
        VastError: it is a personal key, or there is no ssh-keygen.
    """
    file = Path(private).expanduser()
    if file.parent == Path("~/.ssh").expanduser():
        raise VastError(
            f"auth.ssh_private_key: {private} is a personal key, and Ray copies it onto the rented machine; use "
            f"{DEFAULT}"
        )
    public = file.with_name(file.name + ".pub")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "seq-jepa-studies", "-f", str(file)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise VastError(f"no ssh key could be made ({error}); install OpenSSH's client") from None
    if not public.exists():
        raise VastError(f"{public} is missing beside {file}; remove {file}, a new pair is made")
    return public.read_text(encoding="utf-8").strip()
