"""Whether what a study asks and how it decides was on record before its first result, and is the same now."""

from __future__ import annotations

from analysis.recorded.study import Study
from trainer.record.registration import changed, registered_words, registration

_RESULTS = ("rung", "stop", "finish")


def registered(study: Study) -> list[str]:
    """In a sentence; none for a study without a record of sessions."""
    noted = next((line for line in study.decisions if line["event"] == "begin" and line.get("registration")), None)
    if noted is None:
        begun = any(line["event"] == "begin" for line in study.decisions)
        return (
            ["Not registered: the study was begun before question, contrasts, seeds and stopping rule were hashed."]
            if begun
            else []
        )
    before, now = noted["registration"], registration(study.info)
    differing = changed(before, now)
    if differing:
        return [
            f"CHANGED AFTER REGISTRATION: {', '.join(differing)} differ from what was registered as {before['hash']}"
            f" (study.json has {now['hash']} now)."
        ]
    if any(line["event"] in _RESULTS for line in study.decisions[: study.decisions.index(noted)]):
        return [
            f"Registered as {before['hash']} AFTER the first result: the study was begun before registrations were"
            " kept."
        ]
    words = registered_words(before)
    return [f"Registered before the first result as {before['hash']}: {words}."]
