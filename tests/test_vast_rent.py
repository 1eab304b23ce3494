"""Renting as a transaction: whatever is lost, refused, stuck or taken away, exactly one working machine or none."""

import pytest
from aiohttp import web
from vast_emulator.server import ACCOUNT_KEY, Emulator, offer, times

from clusters.vast import limits as caps
from clusters.vast import rent as renting
from clusters.vast.client import GAPS, Client, account_key
from clusters.vast.errors import NoOffer, Refused, Unreachable, VastError
from clusters.vast.memory import Memory
from clusters.vast.rent import Order, Renting

pytestmark = pytest.mark.heavy

PROVIDER = {
    "gpus": [
        {"name": "RTX 4090", "count": 1, "max_usd_per_hour": 0.6},
        {"name": "RTX 3090", "count": 1, "max_usd_per_hour": 0.35},
    ],
    "max_usd": 4,
    "max_hours": 8,
    "boot_minutes": 1,
}
ORDER = Order(
    "c", "image:1", 20, {"ray-node-type": "head", "ray-node-status": "setting-up"}, "ssh-ed25519 AAAA test", "/nowhere"
)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def emulator(tmp_path):
    with Emulator(tmp_path / "e", containers=False, boot_seconds=0) as running:
        yield running


def made(emulator, tmp_path, check=lambda found, order: None, **changed):
    clock = Clock()
    client = Client(ACCOUNT_KEY, emulator.url, sleep=clock.sleep, clock=clock)
    said = []
    limits = caps.read({**PROVIDER, **changed})
    return (
        Renting(client, limits, Memory(tmp_path / "memory.json"), said.append, check, clock.sleep, clock),
        client,
        clock,
        said,
    )


def test_the_preferred_card_at_its_lowest_price(emulator, tmp_path):
    rent, *_, said = made(emulator, tmp_path)
    found = rent.rent(ORDER)
    assert (found.card, found.usd_per_hour, found.tags) == ("RTX 4090", 0.40, {"ray-node-type": "head"})
    assert "0.400 USD/h" in said[0] and "8.0 h (at most 4 USD)" in said[0]
    emulator.offers = [offer(1, "RTX 3090", 0.2), offer(9, price=0.61)]
    assert made(emulator, tmp_path, max_instances=2)[0].rent(ORDER).card == "RTX 3090"  # the other is above its limit


def test_traffic_decides_between_equal_prices(emulator, tmp_path):
    emulator.offers = [offer(1, price=0.40, inet_down_cost=0.5), offer(2, price=0.41)]
    assert made(emulator, tmp_path)[0].rent(ORDER).machine == 9002


def test_a_lost_reply_is_adopted_and_never_rented_twice(emulator, tmp_path):
    emulator.hooks.append(times(1, "PUT", "/asks/", "lose"))
    rent, *_, said = made(emulator, tmp_path)
    found = rent.rent(ORDER)
    assert [r.id for r in emulator.ledger.live()] == [found.id] and len(emulator.ledger.rentals) == 1
    assert any("looking whether it was rented all the same" in line for line in said)


def test_a_lost_reply_that_is_listed_late_is_given_back(emulator, tmp_path):
    emulator.hooks.append(times(1, "PUT", "/asks/", "lose"))
    hidden = times(7, "GET", "/v1/instances", lambda: web.json_response({"instances": [], "next_token": None}))
    emulator.hooks.append(hidden)
    rent, *_ = made(emulator, tmp_path)
    found = rent.rent(ORDER)
    assert len(emulator.ledger.rentals) == 2 and [r.id for r in emulator.ledger.live()] == [found.id]


@pytest.mark.parametrize(
    "reply",
    [
        lambda: web.json_response({"instances": None}),
        lambda: web.json_response({"instances": [{"label": "without a number"}]}),
        lambda: web.json_response([]),
        lambda: web.Response(text=""),
        lambda: web.json_response({}, status=500),
    ],
)
def test_a_listing_that_fails_never_means_none(emulator, tmp_path, reply):
    rent, client, *_ = made(emulator, tmp_path)
    emulator.hooks.append(times(100, "GET", "/v1/instances", reply))
    with pytest.raises(Unreachable):
        rent.rent(ORDER)
    assert emulator.ledger.rentals == {}
    with pytest.raises(Unreachable):
        client.instances()


def test_stuck_gone_and_broken_machines_are_given_back_and_remembered(emulator, tmp_path):
    emulator.stuck.add(3)
    emulator.hooks.append(times(1, "PUT", "/asks/2/", lambda: web.json_response({"error": "no_such_ask"}, status=410)))
    checks = iter(["nvidia-smi shows 0 GPUs, 1 are paid for"] * 20)

    def check(found, order):
        return next(checks) if found.machine == 9004 else None

    rent, *_, said = made(emulator, tmp_path, check)
    assert rent.rent(ORDER).card == "RTX 3090"
    assert len(emulator.ledger.live()) == 1 and len(emulator.ledger.rentals) == 3
    assert Memory(tmp_path / "memory.json").bad_machines() == {9003, 9004}
    assert any("it did not start within 1 minutes" in line for line in said)


@pytest.mark.parametrize("state", ["exited", "offline", "unknown", "stopped"])
def test_a_machine_that_dies_at_once_is_given_back(emulator, tmp_path, state):
    def check(found, order):
        if found.machine == 9003:
            emulator.preempt(emulator.ledger.rentals[found.id], state)
            return "gone"
        return None

    rent, *_, said = made(emulator, tmp_path, check)
    assert rent.rent(ORDER).machine == 9002
    assert f"it is {state}" in said[1] and len(emulator.ledger.live()) == 1


def test_an_interrupt_gives_everything_back(emulator, tmp_path):
    def check(found, order):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(emulator, tmp_path, check)[0].rent(ORDER)
    assert emulator.ledger.live() == [] and emulator.ledger.ended_by() == ["account"]


def test_no_credit_no_offer_and_money_that_does_not_last(emulator, tmp_path):
    with pytest.raises(VastError, match="0.05 USD last 8 minutes at 0.40 USD per hour"):
        made(emulator, tmp_path, max_usd=0.05)[0].rent(ORDER)
    with pytest.raises(NoOffer, match="no offer for 1 x RTX 5090 up to 0.1 USD/h"):
        made(emulator, tmp_path, gpus=[{"name": "RTX 5090", "count": 1, "max_usd_per_hour": 0.1}])[0].rent(ORDER)
    emulator.credit = 0
    with pytest.raises(Refused, match="credit is 0.00 USD"):
        made(emulator, tmp_path)[0].rent(ORDER)
    assert emulator.ledger.rentals == {}


def test_refused_for_credit_tries_no_other_offer(emulator, tmp_path):
    emulator.hooks.append(
        times(9, "PUT", "/asks/", lambda: web.json_response({"error": "insufficient_credit"}, status=400))
    )
    with pytest.raises(Refused, match="insufficient_credit"):
        made(emulator, tmp_path)[0].rent(ORDER)
    assert sum(path.startswith("/api/v0/asks") for _, _, path, _ in emulator.requests) == 1


def test_one_machine_of_this_project_and_no_endless_renting(emulator, tmp_path):
    made(emulator, tmp_path)[0].rent(ORDER)
    with pytest.raises(VastError, match="provider.max_instances is 1 and there is 1001"):
        made(emulator, tmp_path)[0].rent(ORDER)
    with pytest.raises(VastError, match="6 machines were rented within the last hour"):
        for _ in range(10):
            made(emulator, tmp_path, max_instances=99)[0].rent(ORDER)
            for rental in emulator.ledger.live():
                emulator._end(rental, "test")
    assert len(emulator.ledger.rentals) == 6


def test_requests_keep_the_pace_and_bursts_of_429_are_waited_out(emulator):
    clock = Clock()
    client = Client(ACCOUNT_KEY, emulator.url, sleep=clock.sleep, clock=clock)
    for _ in range(3):
        client.offers({})
    assert clock.slept == [GAPS["search"]] * 2
    emulator.hooks.append(times(3, "GET", "/v1/instances", lambda: web.json_response({}, status=429)))
    assert client.instances() == []
    assert [s for s in clock.slept[2:] if s >= 5] == [5, 10, 20]
    emulator.hooks.append(times(9, "GET", "/v1/instances", lambda: web.json_response({}, status=429)))
    with pytest.raises(Unreachable, match="still limits our requests after 6 attempts"):
        client.instances()


def test_every_page_is_read(emulator, tmp_path):
    emulator.offers = [offer(n) for n in range(60)]
    client = made(emulator, tmp_path)[1]
    for number in range(60):
        client.rent(number, {"env": {}, "onstart": "", "label": "", "disk": 20, "image": "a:b"})
    assert len(client.instances()) == 60 == len({row["id"] for row in client.instances()})


def test_the_key_goes_nowhere_else(emulator):
    """A redirect is an error, not a request with the key to another host."""
    with Emulator(emulator.folder.parent / "f", containers=False) as other:
        emulator.hooks.append(
            times(
                99, "GET", "/", lambda: web.Response(status=302, headers={"Location": other.url + "/api/v1/instances/"})
            )
        )
        with pytest.raises(VastError):
            Client(ACCOUNT_KEY, emulator.url, sleep=lambda s: None).instances()
        assert other.requests == []


def test_the_key_is_found_and_must_be_private(tmp_path):
    file = tmp_path / ".config" / "vastai" / "vast_api_key"
    with pytest.raises(VastError, match="no key of Vast.ai: write it to"):
        account_key({"HOME": str(tmp_path)})
    file.parent.mkdir(parents=True)
    file.write_text("k1\n")
    file.chmod(0o644)
    with pytest.raises(VastError, match="others can read the account key; run: chmod 600"):
        account_key({"HOME": str(tmp_path)})
    file.chmod(0o600)
    assert account_key({"HOME": str(tmp_path)}) == "k1"
    assert account_key({"HOME": str(tmp_path), "VAST_API_KEY": "k2"}) == "k2"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_usd": None}, "provider.max_usd: None must be a positive number"),
        ({"max_hours": True}, "provider.max_hours: True must be a positive number"),
        ({"max_instances": 1.5}, "provider.max_instances: 1.5 must be a positive whole number"),
        ({"idle_minuets": 3}, "unknown key 'idle_minuets'"),
        ({"min_reliability": 98}, "min_reliability: 98 is a share of 1"),
        ({"gpus": []}, "provider.gpus: give a list"),
        ({"gpus": [{"name": "RTX 4090", "count": 1}]}, "needs exactly name, count and max_usd_per_hour"),
        ({"gpus": [{"name": "RTX 4090", "count": 0, "max_usd_per_hour": 1}]}, "count 0 must be 1 to 16"),
    ],
)
def test_wrong_limits_name_the_key_and_the_value(changed, message):
    with pytest.raises(VastError) as error:
        caps.read({**PROVIDER, **changed})
    assert message in str(error.value)


def test_every_limit_reaches_the_request(emulator):
    """A limit that changes nothing in the search, or in the machine's own watchdog, would be an ignored option."""
    base = caps.read(PROVIDER)
    search = renting.query(base, 20)
    some = renting.ranked([offer(1)], base)[0]

    def body(limits):
        return renting.body(ORDER, some, limits, "n", *caps.seconds(limits, some.usd_per_hour), "http://x")

    for name, value in (("min_reliability", 0.5), ("min_cuda", 11.0), ("min_download_mbps", 1.0), ("max_hours", 3.0)):
        assert renting.query(caps.read({**PROVIDER, name: value}), 20) != search, name
    for name, value in (("max_usd", 2.0), ("max_hours", 3.0), ("idle_minutes", 1.0), ("watch_seconds", 3)):
        assert body(caps.read({**PROVIDER, name: value})) != body(base), name
    for name, value in (("download_gb", 500.0), ("upload_gb", 500.0)):
        assert renting.ranked([offer(1)], caps.read({**PROVIDER, name: value}))[0].usd > some.usd, name
    assert renting.query(base, 40) != search


def test_interruptible_machines_are_bid_for_only_when_asked(emulator, tmp_path):
    made(emulator, tmp_path)[0].rent(ORDER)
    (first,) = emulator.ledger.live()
    assert first.body["price"] is None and "is_bid" not in first.offer
    searched = [body for _, _, path, body in emulator.requests if path.endswith("/bundles/")]
    assert searched[-1]["type"] == "on-demand" and "min_bid" not in searched[-1]
    rent, *_, said = made(emulator, tmp_path, interruptible=True, bid_over_min=1.5, max_instances=2)
    found = rent.rent(ORDER)
    (second,) = [r for r in emulator.ledger.live() if r is not first]
    searched = [body for _, _, path, body in emulator.requests if path.endswith("/bundles/")]
    assert searched[-1]["type"] == "bid" and searched[-1]["min_bid"] == {"lte": 0.6}
    assert second.body["price"] == pytest.approx(1.5 * second.offer["min_bid"])
    assert found.usd_per_hour == pytest.approx(second.body["price"] + 0.01)  # with storage
    assert second.body["env"]["STUDY_USD_PER_HOUR"] == f"{found.usd_per_hour:.4f}"
    assert any("takes it away without notice" in line for line in said)


def test_a_bid_above_the_limit_is_not_made(emulator, tmp_path):
    emulator.offers = [offer(1, price=0.5)]
    with pytest.raises(NoOffer):
        made(emulator, tmp_path, interruptible=True, bid_over_min=2.4)[0].rent(ORDER)
    assert emulator.ledger.rentals == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"interruptible": 1}, "must be true or false"),
        ({"interruptible": True, "bid_over_min": 0.5}, "at least 1"),
        ({"bid_over_min": 2}, "only with interruptible"),
    ],
)
def test_wrong_bids_are_refused(wrong, said):
    with pytest.raises(VastError, match=said):
        caps.read({**PROVIDER, **wrong})
