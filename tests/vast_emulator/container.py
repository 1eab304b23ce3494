"""One "rented machine": process, mount and network namespaces of its own, reached by ssh through a mapped port only.

Its network has nothing but loopback. What may cross its border crosses over two unix sockets: ssh inwards, the
service's interface outwards. So ``ray stop`` in it, which kills every Ray process it sees, sees its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vast_emulator.pump import pump

if TYPE_CHECKING:
    from vast_emulator.ledger import Rental

INSIDE = Path(__file__).with_name("inside.py")


def possible() -> str | None:
    """Why containers cannot be started here, or None."""
    for name in ("unshare", "ip", "ssh", "ssh-keygen", "rsync", "curl"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    if subprocess.run([*_unshare(), "true"], capture_output=True).returncode:
        return "this kernel allows no namespaces to this user"
    return None


def _unshare() -> list[str]:
    mine = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *mine, "--pid", "--mount", "--net", "--fork", "--kill-child", "--mount-proc"]


class Container:
    """``port`` on 127.0.0.1 is its ssh, once it is up. ``doors``: ports on its loopback, and where they lead to."""

    def __init__(self, folder: Path, rental: Rental, doors: dict[int, Path]):
        self.home = folder / "home"
        for name in ("home", "sbin", "tmp", "tmux"):
            (folder / name).mkdir(parents=True, mode=0o700)
        venv = Path(sys.prefix)
        # what the image would bring
        (self.home / ".bashrc").write_text(f"export PATH={venv}/bin:$PATH PYTHONPATH=$HOME/study PS1='machine$ '\n")
        (folder / "sbin" / "nvidia-smi").write_text(
            "#!/bin/sh\n"
            + f"echo 'GPU 0: NVIDIA {rental.offer['gpu_name']}'\n"
            * rental.offer.get("num_gpus_found", rental.offer["num_gpus"])
        )
        (folder / "sbin" / "nvidia-smi").chmod(0o755)
        (folder / "onstart").write_text(rental.body["onstart"])
        self._keys = folder / "keys"
        self._keys.touch()
        environment = {**rental.body["env"], "CONTAINER_ID": str(rental.id), "CONTAINER_API_KEY": rental.key}
        (folder / "settings.json").write_text(
            json.dumps(
                {
                    "folder": str(folder),
                    "doors": [[port, str(socket)] for port, socket in doors.items()],
                    "environment": environment,
                }
            )
        )
        with (folder / "inside.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_unshare(), sys.executable, str(INSIDE), str(folder / "settings.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            )
        self._lock, self._killed = threading.Lock(), False
        self._socket = folder / "ssh"
        deadline = time.time() + 60
        while not self._socket.exists():
            if self._process.poll() is not None or time.time() > deadline:
                raise RuntimeError((folder / "inside.log").read_text())
            time.sleep(0.05)
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._forward(ready)), daemon=True).start()
        ready.wait(20)

    def allow(self, keys: list[str]) -> None:
        self._keys.write_text("\n".join(keys) + "\n")

    def kill(self) -> None:
        """End every process of it; a second time is fine."""
        with self._lock:
            if self._killed:
                return
            self._killed = True
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _forward(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                other = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                writer.close()
                return
            try:
                await asyncio.gather(pump(reader, other[1]), pump(other[0], writer))
            except asyncio.CancelledError:
                pass  # the machine was killed

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
