"""Starts a study's own Ray, which nobody else can use, or connects to a running cluster."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from studies.executors.lean_start import LOCAL, taken_port, without_helpers
from studies.executors.lifeline import Place
from studies.executors.private_folder import RAY, TOKEN, is_private
from studies.running.processors import processors_here
from trainer.errors import UsageError, one_line

QUIET = {"log_to_driver": False, "logging_level": "CRITICAL"}  # what fails is raised, and told by us
OBJECT_STORE_BYTES = 256 * 2**20
ATTEMPTS = 3
# a busy machine needs longer than Ray's 5 and 30 seconds, after which it ends the process with a line of C++
PATIENCE = {
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_gcs_server_port_wait_time_s": "120",
}
# what a cluster that asks for a token needs of the environment; a study's own Ray has its own
CLUSTER_SECRETS = frozenset(("RAY_AUTH_TOKEN",))


@contextmanager
def own_token(folder: Path, environment: Any = os.environ) -> Iterator[None]:
    """While this lasts, a Ray that is started here asks for the folder's token, whatever the user's environment
    says."""
    names = ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
    before = {name: environment.pop(name, None) for name in names}
    # without a mode of the user's, Ray itself turns tokens on for what it starts, also where it was imported long
    # before
    environment["RAY_AUTH_TOKEN_PATH"] = str(folder / TOKEN)
    try:
        yield
    finally:
        for name, value in before.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray ends the process at SIGTERM once it has started: with its number for an exit code, without the line that says
    how to go on, and with its own tracebacks. Afterwards the signal is the study's again."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def start(folder: Path, dashboard: bool) -> Any:
    """Start Ray on this machine, with its files in ``folder``; the environment is that of :func:`own_token`.

    Raises:
        UsageError: it did not come up, or without its token.
    """
    import ray

    own = {"num_cpus": processors_here(), "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": str(folder / RAY)}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _packages_by_location(), _own_sigterm(), ExitStack() as stack:
                if not dashboard:
                    own["dashboard_port"] = stack.enter_context(taken_port())
                    stack.enter_context(without_helpers(folder))
                # "local": without it Ray would join any cluster it finds, and refuse the processors it is told to use
                context = ray.init(address="local", include_dashboard=dashboard, dashboard_host=LOCAL, **own, **QUIET)
            break
        # Ray has no type for a node that did not come up in its 30 seconds, which a busy machine may need
        except Exception as error:
            ray.shutdown(wait_for_processes=True)
            if attempt == ATTEMPTS:
                tried = f"in {ATTEMPTS} attempts ({_reason(error)})"
                raise UsageError(
                    f"Ray did not start here {tried}; the machine may be too busy: the same command with --resume tries"
                    " again"
                ) from None
    if os.environ.get("RAY_AUTH_MODE") != "token":
        ray.shutdown()
        raise UsageError(
            "Ray started without asking for a token, so others could run code here: install ray 2.60 as constraints.txt"
            " says"
        )
    return context


def connect(address: str) -> Any:
    """Connect to a running cluster.

    Raises:
        UsageError: none answers there, or it refuses this machine's token.
    """
    import ray

    from studies.executors.cluster_token import knock

    place = cluster_here(os.environ) if address == "auto" else address
    try:
        host, _, port = place.removeprefix("ray://").rpartition(":")
        if port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
            if not place.startswith("ray://"):
                knock(place)
        with _packages_by_location(), _own_sigterm():
            return ray.init(address=place, **QUIET)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if _refused(error):
            raise UsageError(
                f"--address {address}: the cluster refused {_whose_token(os.environ)}; copy the head node's"
                " ~/.ray/auth_token to this machine (chmod 600), or name it in RAY_AUTH_TOKEN_PATH"
            ) from None
        raise UsageError(
            f"--address {address}: no Ray cluster answers there ({_reason(error)}); start one with: ray start --head; "
            f"python -m studies doctor --address {address} says more"
        ) from None


def places(context: Any) -> dict[str, Place]:
    """What of Ray must answer for the study to go on: the cluster's head, and the node that this driver is connected
    through."""
    import ray

    info = context.address_info
    here = next((node for node in ray.nodes() if node["NodeID"] == info.get("node_id")), None)
    gcs = info.get("gcs_address")
    found = {}
    if gcs:
        host, _, port = gcs.rpartition(":")
        found["the cluster's head (gcs_server)"] = (host.strip("[]"), int(port))
    if here is not None:
        found["this machine's Ray node (raylet)"] = (here["NodeManagerAddress"], here["NodeManagerPort"])
    return found


def cluster_here(environment: Mapping[str, str], proc: Path = Path("/proc"), temporary: Path | None = None) -> str:
    """What ``auto`` stands for: RAY_ADDRESS, or the cluster this machine is a node of. Another study's own Ray is none.

    Raises:
        UsageError: there is none.
    """
    if environment.get("RAY_ADDRESS"):
        return environment["RAY_ADDRESS"]
    if not (proc / "self").exists():
        return "auto"  # the system does not list processes; a study's own Ray refuses us without its token
    nodes = list(_nodes(proc))
    clusters = [gcs for gcs, session in nodes if not is_private(session)]
    # `ray start` notes the last cluster; of several that one is meant
    noted = (
        (temporary or Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"))
        / "ray"
        / "ray_current_cluster"
    )
    last = noted.read_text().strip() if noted.exists() else ""
    if last in clusters:
        return last
    if clusters:
        return clusters[0]
    private = len(nodes)
    beside = (
        f"; {private} Ray here belong{'s' if private == 1 else ''} to other studies, which share with nobody"
        if private
        else ""
    )
    raise UsageError(
        f"--address auto: no Ray cluster runs on this machine, and RAY_ADDRESS names none{beside}; start one with: ray"
        " start --head"
    )


def _nodes(proc: Path) -> Iterator[tuple[str, str]]:
    """(address of the cluster, session folder) of every raylet on this machine."""
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # it ended meanwhile
                continue
            if Path(words[0]).name == "raylet":
                said = dict(word.lstrip("-").partition("=")[::2] for word in words if "=" in word)
                yield said.get("gcs-address", ""), said.get("session_dir", said.get("session-dir", ""))


@contextmanager
def _packages_by_location() -> Iterator[None]:
    """Ray puts the current folder first on its workers' path, where a user's own ``trainer.py`` would stand for ours:
    let it be ours."""
    before = os.getcwd()
    os.chdir(Path(__file__).resolve().parent.parent.parent)
    try:
        yield
    finally:
        os.chdir(before)


def _refused(error: BaseException | None) -> bool:
    import ray

    while error is not None:
        if isinstance(error, ray.exceptions.AuthenticationError) or "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _whose_token(environment: Mapping[str, str]) -> str:
    if environment.get("RAY_AUTH_TOKEN"):
        return "the token in RAY_AUTH_TOKEN"
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path("~/.ray/auth_token").expanduser())
    return f"the token in {path}" if path.exists() else f"this machine, which has no token ({path})"


def _reason(error: BaseException) -> str:
    return one_line(error).partition(". ")[0][:200]
