"""What can go wrong with a rented machine; each is one line that says what to do."""

from __future__ import annotations

from trainer.errors import UsageError


class VastError(UsageError):
    """Anything about Vast.ai that a user can act on."""


class Refused(VastError):
    """The service understood and said no (key, credit, limits): asking again does not help."""


class Unreachable(VastError):
    """No usable answer. What was asked for may or may not have happened."""


class OfferGone(VastError):
    """Somebody else rented it, or its owner took it back: the next offer may do."""


class NoOffer(VastError):
    """Nothing on the market meets the limits."""
