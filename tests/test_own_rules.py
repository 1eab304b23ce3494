"""A stopping rule that a study brings along: its faults are one line, before anything starts or when they show."""

from dataclasses import replace

import pytest
from engine import make, plan, play

from studies import Judgement, Rule
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine.settings import Stopping
from studies.step2_rate import STUDY
from trainer.errors import UsageError


def rule(judge=lambda *_: Judgement("go"), **attributes):
    """A class with this ``judge``, and whatever else is given."""
    return type("Mine", (Rule,), {"judge": lambda self, *asked: judge(*asked), **attributes})


def planned(folder, rules, *words):
    study = replace(STUDY, rules=rules)
    words = ["--results-dir", str(folder), "--stopping", "mine", *words]
    return make_plan(parser(study).parse_args(words), study)


def broken(*_):
    raise ZeroDivisionError("by nought")


def test_help_tells_what_a_rule_of_ones_own_does():
    rules = {"mine": rule(says="stops the lower 20 % (of 10)"), "other": rule()}
    told = " ".join(parser(replace(STUDY, rules=rules)).format_help().split())
    assert "mine stops the lower 20 % (of 10), other is a rule of this study (default" in told


@pytest.mark.parametrize(
    "rules, said",
    [
        ([rule()], "must map the name"),
        ({3: rule()}, "its name must be a word"),
        ({"gate": rule()}, "there is a rule of this name already"),
        ({"mine": "gate"}, "must be a subclass of studies.Rule"),
        ({"mine": rule()(30)}, "must be a subclass of studies.Rule"),
        ({"mine": type("Mine", (Rule,), {})}, "does not say judge"),
        ({"mine": rule(takes=("patience",))}, "takes 'patience', but can only take grace, eta, brackets"),
        ({"mine": rule(broken)}, "ZeroDivisionError: by nought, asked of a trial in place 1 of 1"),
        ({"mine": rule(lambda *_: "go")}, "AttributeError"),
        ({"mine": rule(lambda *_: Judgement("maybe"))}, "it must say go, wait or stop"),
        ({"mine": rule(lambda *_: Judgement("stop", "low"))}, "and a number or None"),
        ({"mine": rule(lambda *_: Judgement("wait"), waits=True)}, "which would be for ever"),
        ({"mine": rule(lambda *_: Judgement("wait"))}, "declared with waits = False"),
        ({"mine": rule(epochs_judged=broken)}, "ZeroDivisionError: by nought, before any trial was judged"),
        ({"mine": rule(epochs_judged=lambda self: (4, 4))}, "must name different epochs from 1 to 29, ascending"),
        ({"mine": rule(epochs_judged=lambda self: (30,))}, "must name different epochs from 1 to 29"),
        ({"mine": rule(epochs_judged=lambda self: 4)}, "must name different epochs from 1 to 29"),
        ({"mine": rule(bracket=lambda self, number: number)}, "puts trials in brackets"),
        ({"mine": rule(share=2)}, "its share is 2"),
    ],
)
def test_a_wrong_rule_is_one_line_before_anything_starts(tmp_path, rules, said):
    with pytest.raises(UsageError) as raised:
        planned(tmp_path, rules)
    assert said in str(raised.value) and "\n" not in str(raised.value) and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "answer, said",
    [
        (broken, "rule 'Mine': ZeroDivisionError: by nought"),
        (lambda: Judgement("wait"), "rule 'Mine': says wait of a trial in place .* which would be for ever"),
    ],
)
def test_a_rule_that_goes_wrong_later_ends_the_study_with_one_line(tmp_path, answer, said):
    """Neither a traceback nor a study that waits for ever."""

    def judge(ranked, own, place, to_come):
        return Judgement("wait") if to_come else answer()

    jobs = make(plan(tmp_path, rule="mine", own=rule(judge, waits=True), grace=5, eta=2))
    with pytest.raises(UsageError, match=said):
        play(jobs)


def test_a_rule_typed_into_a_notebook_is_registered_by_what_it_does(tmp_path):
    def typed(limit, kept=2):
        names = {}
        code = (
            "from studies import Judgement, Rule\n"
            f"class Mine(Rule):\n    usual = {{'eta': {kept}}}\n"
            "    def judge(self, ranked, own, place, to_come):\n"
            f"        return Judgement('go' if own > (lambda: {limit})() else 'stop')\n"
        )
        exec(code, {"__name__": "cell"}, names)
        return Stopping("mine", own=names["Mine"]).stored(30)["source"]

    assert typed(53) == typed(53) and len({typed(53), typed(54), typed(53, 4)}) == 3
    assert planned(tmp_path, {"mine": rule()}).stored()["stopping"]["rule"] == "mine"
