"""``python -m analysis live``: the page of a running study, for this machine only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from trainer.command.cli import Parser

EXAMPLES = (
    "python -m analysis live results",
    "python -m analysis live results/step2_rate_digits --port 8050",
    "ssh -L 8050:127.0.0.1:8050 machine       # and open the printed address here",
)
EXITS = {0: "ended", 2: "wrong command, or the port is taken", 130: "interrupted"}


def main(argv: list[str]) -> int:
    """Exit code.

    Raises:
        UsageError: a folder is none, or the port is taken.
    """
    parser = Parser(
        prog="python -m analysis live",
        description=(
            "Serve the page of every study in a folder, and follow them while they run. It listens on 127.0.0.1, asks"
            " for the token in the address that it prints, and only reads; Ctrl-C ends it and no study."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RESULTS", help="a study, or a folder of studies")
    parser.add_argument("--port", type=int, default=0, help="default: the same for the same folder, if it is free")
    parser.add_argument(
        "--while-alive",
        type=int,
        metavar="PROCESS",
        help="end when this process has ended (what --live of a study does)",
    )
    options = parser.parse_args(argv)
    from trainer.errors import UsageError

    if not 0 <= options.port < 65536:
        raise UsageError(f"--port {options.port}: must be 1 to 65535, or 0 for one that is free")
    for folder in options.folders:
        if not folder.is_dir() and options.while_alive is None:
            raise UsageError(f"{folder}: is no folder; give a study or the folder that studies are in")
    return asyncio.run(_serve(options.folders, options.port, options.while_alive))


async def _serve(folders: list[Path], port: int, parent: int | None) -> int:
    from analysis.page.live import address
    from analysis.page.live.server import Server
    from trainer.errors import UsageError

    key = address.key()
    server = Server(folders, lambda port: address.token(key, folders, port))
    try:
        runner, port = await server.start(*([port] if port else [address.usual_port(key, folders), 0]))
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror or error}; choose another, or none") from None
    try:
        print(f"page  http://127.0.0.1:{port}/?token={server.token}", flush=True)
        print("      on this machine only; it reads and changes nothing. Ctrl-C ends it.", flush=True)
        while parent is None or _alive(parent):
            await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        await runner.cleanup()
    return 0


def _alive(process: int) -> bool:
    return os.getppid() == process
