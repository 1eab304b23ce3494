"""Process 1 of an emulated machine: mounts, the on-start script, and ssh. Started by ``container``."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import asyncssh
from pump import pump  # started as a script: its folder is on the path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(settings: dict) -> None:
    folder = Path(settings["folder"])
    home = folder / "home"
    private = {"/tmp/ray": folder / "tmp", f"/tmp/tmux-{os.getuid()}": folder / "tmux"}
    for place in private:
        Path(place).mkdir(exist_ok=True, mode=0o700)
    for words in (
        ["ip", "link", "set", "lo", "up"],
        *(["mount", "--bind", own, place] for place, own in private.items()),
        ["mount", "--bind", folder / "sbin", "/usr/local/sbin"],
        ["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"],
    ):
        subprocess.run(words, check=True)
    plain = {"HOME": str(home), "USER": "root", "PATH": PATH, "LANG": "C.UTF-8", "SHELL": "/bin/bash"}
    # as on the service: what was given at the rent request is seen by the script, not by ssh sessions
    with (folder / "onstart.log").open("wb") as log:
        start = subprocess.Popen(
            ["bash", str(folder / "onstart")],
            env={**plain, **settings["environment"]},
            cwd=home,
            stdout=log,
            stderr=log,
        )
    start.wait()
    if os.fork():
        reap()
    asyncio.run(serve(folder, home, plain, settings))


def reap() -> None:
    """Process 1 inherits orphans and must collect them: ``ray stop`` waits for its dead otherwise."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


async def serve(folder: Path, home: Path, plain: dict[str, str], settings: dict) -> None:
    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            lines = [line for line in (folder / "keys").read_text().splitlines() if line]
            return any(asyncssh.import_public_key(line) == key for line in lines)

        def connection_requested(self, host: str, port: int, *_: object) -> bool:
            return True

    async def session(process: asyncssh.SSHServerProcess) -> None:
        await run(process, home, plain)

    await asyncssh.create_server(
        Server, "127.0.0.1", 22, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=session, encoding=None, line_editor=False, keepalive_interval=0,
    )  # fmt: skip
    for port, place in settings["doors"]:
        await asyncio.start_server(joined(lambda place=place: asyncio.open_unix_connection(place)), "127.0.0.1", port)
    partial = folder / "ssh.partial"
    await asyncio.start_unix_server(joined(lambda: asyncio.open_connection("127.0.0.1", 22)), str(partial))
    partial.rename(folder / "ssh")
    await asyncio.Event().wait()


def joined(connect):
    async def accept(reader, writer):
        try:
            other_reader, other_writer = await connect()
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))

    return accept


async def run(process: asyncssh.SSHServerProcess, home: Path, plain: dict[str, str]) -> None:
    """One command or shell of one session, with its exit code."""
    words = ["bash", "-c", process.command] if process.command else ["bash", "--login", "-i"]
    environment = {**plain, **({"TERM": process.term_type} if process.term_type else {})}
    if process.term_type:
        master, slave = os.openpty()

        def terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        child = await asyncio.create_subprocess_exec(
            *words, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=home, preexec_fn=terminal
        )
        os.close(slave)
        sending = asyncio.create_task(typed(process, lambda data: os.write(master, data)))
        reading = asyncio.create_task(shown(process, master))
        group = child.pid
    else:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=home, start_new_session=True
        )
        group = child.pid

        def write(data: bytes) -> None:
            child.stdin.write(data) if data else child.stdin.close()

        sending = asyncio.create_task(typed(process, write, child.stdin.drain))
        reading = asyncio.gather(copied(child.stdout, process.stdout), copied(child.stderr, process.stderr))
    gone = asyncio.create_task(process.channel.wait_closed())
    done = asyncio.create_task(child.wait())
    await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
    if not done.done():
        os.killpg(group, signal.SIGHUP)
        await done
    else:
        await asyncio.wait({asyncio.ensure_future(reading)}, timeout=2)
        code = child.returncode
        process.exit(code if code >= 0 else 128 - code)
    for task in (sending, reading, gone):
        task.cancel()
    if process.term_type:
        os.close(master)


async def typed(process, write, drain=None) -> None:
    while True:
        try:
            data = await process.stdin.read(1 << 16)
        except (asyncssh.TerminalSizeChanged, asyncssh.SignalReceived, asyncssh.BreakReceived):
            continue
        except asyncssh.Error:
            return
        try:
            write(data)
            if data and drain:
                await drain()
        except (OSError, ConnectionError):
            return
        if not data:
            return


async def copied(reader, writer) -> None:
    while data := await reader.read(1 << 16):
        try:
            writer.write(data)
            await writer.drain()
        except (OSError, asyncssh.Error, ConnectionError):
            return


async def shown(process, master: int) -> None:
    while True:
        try:
            data = await asyncio.to_thread(os.read, master, 1 << 16)
        except OSError:
            return  # the last holder of the terminal ended
        if not data:
            return
        process.stdout.write(data)


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
