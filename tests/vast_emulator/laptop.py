"""The user's side of a test: a home of its own, the account's key in it, and the real ``ray`` command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from vast_emulator.server import ACCOUNT_KEY, Emulator

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.prefix) / "bin"


class Laptop:
    """Args: ``folder``: of a short path; ``provider``: limits that differ from those of clusters/vast.yaml."""

    def __init__(self, folder: Path, emulator: Emulator, **provider: Any):
        self.home, self.temporary = folder / "home", folder / "t"
        self.temporary.mkdir(parents=True)
        key = self.home / ".config" / "vastai" / "vast_api_key"
        key.parent.mkdir(parents=True)
        key.write_text(ACCOUNT_KEY)
        key.chmod(0o600)
        project = self.home / "project"
        self.environment = {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "VAST_URL": emulator.url,
            "RAY_USAGE_STATS_ENABLED": "0",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "160",
            "AWS_SECRET_ACCESS_KEY": "bucket-secret-51c",
            "WANDB_API_KEY": "wandb-key-8aa2",
        }
        project.mkdir()
        self.project = project
        config = yaml.safe_load((ROOT / "clusters" / "vast.yaml").read_text())
        config["provider"] |= {"idle_minutes": 10, "watch_seconds": 1, "boot_minutes": 1} | provider
        config["auth"]["ssh_private_key"] = str(self.home / "key")
        config["setup_commands"] = ["test -f ~/study/pyproject.toml"]  # the emulated image brings the packages
        self.config = config
        self.yaml = folder / "vast.yaml"
        self.save()

    def save(self) -> None:
        self.yaml.write_text(yaml.safe_dump(self.config))

    def start(self, *words: str, **settings: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            list(words),
            env=self.environment,
            cwd=self.project,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **settings,
        )

    def end(self, process: subprocess.Popen[str]) -> str:
        """What a command said, after killing it and whatever it started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]

    def run(self, *words: str, seconds: float = 240, code: int | None = 0) -> str:
        """Output of a command that must end with ``code`` (None: any)."""
        process = self.start(*words)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            raise AssertionError(f"{' '.join(words)}: no end in {seconds} s\n{said}") from None
        assert code is None or process.returncode == code, (words, process.returncode, said)
        return said

    def ray(self, command: str, *words: str, **settings: Any) -> str:
        return self.run("ray", command, str(self.yaml), *words, **settings)
