"""One direction of a forwarded connection."""

from __future__ import annotations

import asyncio


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until either side is gone, and close the other."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other side went away, which closes this one
    finally:
        writer.close()
