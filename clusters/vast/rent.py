"""One machine, rented as a transaction: at its end there is exactly one working instance, or none.

Every request carries one nonce. Whenever it is not certain what happened, the account's list is asked for that nonce:
the service may have rented although the reply was lost.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from clusters.vast import instance as instances
from clusters.vast import limits as caps
from clusters.vast.client import URL, Client
from clusters.vast.errors import NoOffer, OfferGone, Refused, Unreachable, VastError
from clusters.vast.instance import Instance
from clusters.vast.limits import Limits
from clusters.vast.memory import Memory
from clusters.vast.offers import Offer, query, ranked

ON_START = Path(__file__).with_name("onstart.sh")
MOST_OFFERS = 8
LONGEST_ON_START, LONGEST_VARIABLE, LONGEST_LABEL = 4048, 256, 256
POLL_SECONDS = 5.0
ADOPT_POLLS = 6


@dataclass(frozen=True)
class Order:
    """What is to be rented.

    Attributes:
        image: of the container; disk_gb cannot grow later.
        public_key, private_key_file: of a pair made for this project only.
    """

    cluster: str
    image: str
    disk_gb: int
    tags: dict[str, str]
    public_key: str
    private_key_file: str


class Renting:
    """Args: ``check`` says what is wrong with a running instance, or None; the others are for tests."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        memory: Memory,
        say: Callable[[str], None] = print,
        check: Callable[[Instance, Order], str | None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._client, self._limits, self._memory, self._say = client, limits, memory, say
        self._check = check or machine_fault
        self._sleep, self._clock = sleep, clock

    def rent(self, order: Order) -> Instance:
        """A running instance that answers ssh and has its GPUs.

        Raises:
            NoOffer: the market has nothing within the limits.
            VastError: refused by the service or by our own limits; nothing of this order is left running.
        """
        self._allowed()
        nonce = secrets.token_hex(8)
        try:
            found = self._try_offers(order, nonce)
            for other in self._of(nonce):
                if other.id != found.id:  # a rental whose reply was lost, and that was listed late
                    self._client.destroy(other.id)
            return found
        except BaseException:
            self._undo(nonce)
            raise

    def _try_offers(self, order: Order, nonce: str) -> Instance:
        offers = ranked(
            self._client.offers(query(self._limits, order.disk_gb)), self._limits, self._memory.bad_machines()
        )
        if not offers:
            cards = ", ".join(f"{c.count} x {c.name} up to {c.max_usd_per_hour:g} USD/h" for c in self._limits.gpus)
            raise NoOffer(
                f"no offer for {cards}; raise max_usd_per_hour or add a card under provider.gpus, and see: "
                "python -m clusters.vast offers"
            )
        faults: list[str] = []
        for offer in offers[:MOST_OFFERS]:
            lives, money = caps.seconds(self._limits, offer.usd_per_hour)
            self._say(
                f"renting {offer.count} x {offer.card} ({offer.place}) for {offer.usd_per_hour:.3f} USD/h; it "
                "deletes itself after "
                f"{min(lives, money) / 3600:.1f} h (at most {self._limits.max_usd:g} USD) or "
                f"{self._limits.idle_minutes:g} idle minutes"
                f"{'' if offer.bid is None else '; whoever bids more takes it away without notice'}"
            )
            self._memory.launched()
            number = self._send(offer, order, nonce, lives, money)
            if number is None:
                faults.append(f"offer {offer.id}: gone")
                continue
            try:
                self._client.attach_key(number, order.public_key)
                ready, fault = self._await(number, order)
            except Refused as error:
                ready, fault = None, str(error)
            if ready:
                return ready
            faults.append(f"offer {offer.id}: {fault}")
            self._say(f"instance {number} is given back: {fault}")
            self._client.destroy(number)
            self._memory.is_bad(offer.machine)
            self._breaker()
        raise NoOffer(f"{len(faults)} offers failed ({'; '.join(faults)}); try again later or widen provider.gpus")

    def _allowed(self) -> None:
        self._breaker()
        ours = [i for i in map(instances.read, self._client.instances()) if i.cluster]
        if len(ours) >= self._limits.max_instances:
            names = ", ".join(f"{i.id} ({i.cluster})" for i in ours)
            raise VastError(
                f"provider.max_instances is {self._limits.max_instances} and there is {names}; end it with ray "
                "down or: python -m clusters.vast reap --all"
            )
        credit = self._client.account().get("credit")
        if isinstance(credit, (int, float)) and credit <= 0:
            raise Refused(f"the account's credit is {credit:.2f} USD; add credit on the web first")

    def _breaker(self) -> None:
        if (n := self._memory.launches()) >= self._limits.max_launches_per_hour:
            raise VastError(
                f"{n} machines were rented within the last hour, provider.max_launches_per_hour is "
                f"{self._limits.max_launches_per_hour}; find out why, or raise it"
            )

    def _send(self, offer: Offer, order: Order, nonce: str, lives: int, money: int) -> int | None:
        """The instance's number, or None if the offer is gone."""
        try:
            return self._client.rent(offer.id, body(order, offer, self._limits, nonce, lives, money, self._client.url))
        except OfferGone:
            return None
        except Unreachable as error:
            self._say(f"{error}; looking whether it was rented all the same")
        for _ in range(ADOPT_POLLS):
            self._sleep(POLL_SECONDS)
            if found := self._of(nonce):
                return found[0].id
        return None

    def _await(self, number: int, order: Order) -> tuple[Instance | None, str]:
        """The instance once it works, or why it is given up."""
        deadline = self._clock() + self._limits.boot_minutes * 60
        fault = "it did not start"
        while self._clock() < deadline:
            self._sleep(POLL_SECONDS)
            now = next((i for i in map(instances.read, self._client.instances()) if i.id == number), None)
            if now is None:
                return None, "it vanished from the account"
            if now.dead:
                return None, f"it is {now.status}"
            if now.status == "running" and now.host:
                fault = self._check(now, order) or ""
                if not fault:
                    return now, ""
        return None, f"{fault} within {self._limits.boot_minutes:g} minutes"

    def _of(self, nonce: str) -> list[Instance]:
        return [i for i in map(instances.read, self._client.instances()) if i.nonce == nonce]

    def _undo(self, nonce: str) -> None:
        try:
            for left in self._of(nonce):
                self._client.destroy(left.id)
                self._say(f"instance {left.id} is given back")
        except VastError as error:
            self._say(
                f"what was rented could not be given back ({error}); its own watchdog ends it; check with: "
                "python -m clusters.vast reap"
            )


def body(order: Order, offer: Offer, limits: Limits, nonce: str, lives: int, money: int, url: str) -> dict[str, object]:
    """The rent request. Raises VastError if Ray's tags or the script do not fit the service's limits."""
    script = on_start()
    variables = {
        instances.CLUSTER: order.cluster,
        instances.NONCE: nonce,
        instances.SECONDS: str(lives),
        "STUDY_MONEY_SECONDS": str(money),
        "STUDY_IDLE_SECONDS": str(int(limits.idle_minutes * 60)),
        "STUDY_USD_PER_HOUR": f"{offer.usd_per_hour:.4f}",
        "STUDY_WATCH": str(limits.watch_seconds),
        **({"STUDY_API": url} if url != URL else {}),
        **({f"-n {limits.overlay}": "1"} if limits.overlay else {}),  # as the service's own client sends a network
        **instances.tag_variables(order.tags),
    }
    for name, value in variables.items():
        if len(name) + len(value) + 1 > LONGEST_VARIABLE:
            raise VastError(
                f"{name}: {len(value)} characters are more than Vast.ai keeps; choose a shorter cluster_name"
            )
    return {
        "client_id": "me",
        "image": order.image,
        "env": variables,
        "price": offer.bid,  # None: on demand
        "disk": order.disk_gb,
        "label": f"seq-jepa-studies {order.cluster}"[:LONGEST_LABEL],
        "extra": None,
        "onstart": script,
        "image_login": None,
        "python_utf8": False,
        "lang_utf8": False,
        "use_jupyter_lab": False,
        "jupyter_dir": None,
        "force": False,
        "cancel_unavail": True,
        "template_hash_id": None,
        "user": None,
        "runtype": "ssh_direc ssh_proxy",
    }


def on_start() -> str:
    """The script without its comments. Raises VastError if it is longer than the service takes."""
    lines = ON_START.read_text(encoding="utf-8").splitlines()
    script = "\n".join([lines[0], *(line for line in lines[1:] if not line.lstrip().startswith("# "))]) + "\n"
    if len(script) > LONGEST_ON_START:
        raise VastError(
            f"{ON_START}: {len(script)} characters without comments, Vast.ai takes {LONGEST_ON_START}; shorten it"
        )
    return script


def ssh(found: Instance, private_key_file: str, words: Iterable[str] = ()) -> list[str]:
    """The command that logs into an instance, with ``words`` to be run there."""
    options = (
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "LogLevel=ERROR",
        "ConnectTimeout=15",
    )
    return [
        "ssh",
        "-i",
        private_key_file,
        *(x for o in options for x in ("-o", o)),
        "-p",
        str(found.port),
        f"root@{found.host}",
        *words,
    ]


def machine_fault(found: Instance, order: Order) -> str | None:
    """What is wrong with a running instance: no ssh, or not the GPUs that are paid for."""
    try:
        done = subprocess.run(
            ssh(found, order.private_key_file, ["nvidia-smi -L"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "ssh did not answer in 60 s"
    if done.returncode:
        return f"nvidia-smi over ssh: {' '.join(done.stderr.split())[-160:] or f'exit code {done.returncode}'}"
    seen = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return None if seen == found.count else f"nvidia-smi shows {seen} GPUs, {found.count} are paid for"
