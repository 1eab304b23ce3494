"""What of Ray is on this machine already: processes, ports, and the token that clusters ask for."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from studies.doctor.finding import Finding, fail, ok, warn

SERVERS = ("raylet", "gcs_server")
DASHBOARD_PORT = 8265


def servers(proc: Path = Path("/proc")) -> dict[int, str] | None:
    """Ray's server processes on this machine, number to name; None where the system does not list them in /proc."""
    if not (proc / "self").exists():
        return None
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:  # it ended meanwhile
                continue
            if name in SERVERS and rest.split()[0] != "Z":
                found[int(folder.name)] = name
    return found


def other_ray(found: Mapping[int, str] | None, cluster: bool) -> Finding:
    """Another Ray on this host; ``cluster`` says that the study itself will use a running one."""
    if found is None:
        return ok("ray here", "not checked: no /proc on this system; `ray status` tells")
    raylets = sorted(pid for pid, name in found.items() if name == "raylet")
    if not found or (cluster and len(raylets) == 1):
        return ok("ray here", "one Ray node, as expected with --address" if found else "no other Ray on this machine")
    if not raylets:
        value = f"{', '.join(f'{name} {pid}' for pid, name in sorted(found.items()))} without a raylet"
        return warn("ray here", value, "left over by a killed Ray; it holds memory and ports", "ray stop")
    value = f"{len(raylets)} running (raylet {', '.join(map(str, raylets))})"
    why = "it shares CPUs and memory with a study"
    return warn("ray here", value, why, "if a killed driver left it: ray stop (ends every Ray of yours here)")


def port_taken(port: int = DASHBOARD_PORT) -> bool:
    """Whether something listens on this port of the loopback."""
    with socket.socket() as knock:
        knock.settimeout(1)
        return knock.connect_ex(("127.0.0.1", port)) == 0


def dashboard_port(taken: bool, port: int = DASHBOARD_PORT) -> Finding:
    """No port is fixed except the dashboard's, and Ray moves that one if it must."""
    if not taken:
        return ok("ports", f"{port} is free for --dashboard; nothing else needs a fixed port")
    why = f"with --dashboard Ray takes the next free one, and {port} shows something else"
    return warn("ports", f"{port} is taken", why, "use the link that the study prints")


def token(environment: Mapping[str, str], home: Path, cluster: bool) -> Finding:
    """Ray's token, which a cluster may ask for; a study on this machine has its own. Says where it is from, never what
    it is."""
    if not cluster:
        return ok("ray token", "a study makes one of its own, which goes with it: nobody else is let into its Ray")
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        why = "whoever reaches Ray's ports can run code as you"
        return warn(
            "ray token",
            "off (RAY_AUTH_MODE=disabled)",
            why,
            "unset RAY_AUTH_MODE unless the machines are on a closed network",
        )
    if environment.get("RAY_AUTH_TOKEN"):
        return ok("ray token", "from RAY_AUTH_TOKEN")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    try:
        permissions = path.stat().st_mode
        empty = not path.read_text().strip()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            return fail(
                "ray token", f"{path} cannot be read ({error.strerror})", "Ray would not start", "chown it, chmod 600"
            )
        if mode == "token":
            return fail(
                "ray token",
                f"none at {path}",
                "RAY_AUTH_MODE=token, so connecting needs one",
                "copy the head node's file there, chmod 600",
            )
        return ok("ray token", f"none at {path}; only a cluster without tokens lets this machine in")
    if empty:
        return fail(
            "ray token",
            f"{path} is empty",
            "Ray would be refused by any cluster",
            "remove it, or copy the head node's file there",
        )
    if permissions & (stat.S_IRWXG | stat.S_IRWXO):
        why = "other users of this machine could run code as you"
        return warn("ray token", f"{path} has mode {stat.S_IMODE(permissions):o}", why, f"chmod 600 {path}")
    return ok("ray token", f"{path}, readable by you alone, must be the same on every node")


def user_home() -> Path:
    """The home folder as Ray sees it."""
    return Path(os.path.expanduser("~"))
