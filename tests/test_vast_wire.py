"""Our requests have the shapes of the service's own SDK (recorded from it by a run against the emulator)."""

import json
from pathlib import Path

import pytest
from vast_emulator.server import ACCOUNT_KEY, Emulator, offer

from clusters.vast import limits as caps
from clusters.vast.client import GAPS, Client
from clusters.vast.offers import query, ranked
from clusters.vast.rent import Order, body

pytestmark = pytest.mark.heavy

SDK = json.loads((Path(__file__).parent / "vast_emulator" / "sdk_requests.json").read_text())
PROVIDER = {
    "gpus": [{"name": n, "count": 1, "max_usd_per_hour": 0.6} for n in ("RTX 4090", "RTX 3090")],
    "max_usd": 4,
    "max_hours": 8,
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The same steps as the SDK's: search, rent, attach a key, list, ask for the account, destroy."""
    sent = []

    class Recorded(Client):
        def _send(self, method, path, body):
            sent.append({"method": method, "path": path, "body": body})
            return super()._send(method, path, body)

    with (
        Emulator(tmp_path_factory.mktemp("e"), containers=False, boot_seconds=0) as emulator,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in GAPS:
            patch.setitem(GAPS, name, 0.0)
        client, limits = Recorded(ACCOUNT_KEY, emulator.url), caps.read(PROVIDER)
        client.offers(query(limits, 20))
        first = ranked([offer(SDK["offer"])], limits)[0]
        order = Order("c", "image:1", 20, {}, "ssh-ed25519 AAAA", "k")
        number = client.rent(first.id, body(order, first, limits, "n", 1, 2, emulator.url))
        client.attach_key(number, order.public_key)
        client.instances()
        client.account()
        client.destroy(number)
    assert number == SDK["instance"]
    return sent


def test_the_same_requests_in_the_same_shapes(ours):
    assert [(r["method"], r["path"]) for r in ours] == [(r["method"], r["path"]) for r in SDK["requests"]]


def test_the_rent_request_has_the_same_fields_of_the_same_kinds(ours):
    mine, theirs = ours[1]["body"], SDK["requests"][1]["body"]
    assert {k: type(v) for k, v in mine.items()} == {k: type(v) for k, v in theirs.items()}
    same = set(mine) - {"env", "label", "onstart"}
    assert {k: mine[k] for k in same} == {k: theirs[k] for k in same}


def test_the_search_asks_in_the_same_words(ours):
    mine, theirs = ours[0]["body"], SDK["requests"][0]["body"]
    assert {k: mine[k] for k in theirs} == theirs


def test_the_other_bodies_are_equal(ours):
    assert [r["body"] for r in ours[2:]] == [r["body"] for r in SDK["requests"][2:]]


def test_every_field_of_the_search_is_one_of_the_services():
    fields = {k for k, v in query(caps.read(PROVIDER), 20).items() if isinstance(v, dict)}
    assert fields <= set(SDK["offer_fields"]), fields - set(SDK["offer_fields"])


def test_a_bid_and_a_network_stand_where_the_sdk_puts_them():
    theirs = SDK["bid_in_a_network"]
    provider = {**PROVIDER, "interruptible": True, "bid_over_min": 1.5, "overlay": "study", "physical_cluster": 7}
    limits = caps.read(provider)
    (first,) = ranked([offer(1, price=0.4)], limits)
    mine = body(Order("c", "image:1", 20, {}, "ssh-ed25519 AAAA", "k"), first, limits, "n", 1, 2, "http://x")
    assert mine["price"] == theirs["price"] == 0.3 and set(mine) == set(theirs)
    assert {k: v for k, v in mine["env"].items() if k.startswith("-n")} == {"-n study": theirs["env"]["-n study"]}
    fields = {k for k, v in query(limits, 20).items() if isinstance(v, dict)}
    assert fields <= set(SDK["offer_fields"]), fields - set(SDK["offer_fields"])
