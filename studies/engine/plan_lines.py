"""A plan for people: what ``--dry-run`` and the start of a study print."""

from __future__ import annotations

from studies.engine.metrics import LINACC
from studies.engine.plan import Plan
from trainer.command.duration import duration, estimate, measured, work
from trainer.data.sets import require_present
from trainer.errors import UsageError
from trainer.record.registration import registered_words, registration

START_SECONDS = 12
"""Ray, and torch in each trial process; measured on 2 cores."""


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people."""
    r, registered = plan.resources, registration(plan.stored())
    expected, most = seconds(plan, plan.expected_epochs()), seconds(plan, plan.most_epochs)
    text = [
        f"study      {plan.study}, preset {plan.preset} {' '.join(plan.overrides)}".rstrip(),
        f"results    {plan.folder}",
    ]
    if plan.revision:
        text[0] += f" as it was when the study began: {' '.join(plan.revision)}"
    if plan.noise_floor:
        seeds = ", ".join(map(str, plan.noise_seeds))
        text.append(f"first      the noise floor: {plan.noise_arm[0]} on seeds {seeds}")
    if plan.num_trials:
        text += _search_lines(plan)
    names = ", ".join(arm.label for arm in plan.arms)
    if plan.search.verdict:
        beside = f": {names}" if names else ""
        text.append(f"compare    on seeds {', '.join(map(str, plan.seeds))}{beside}")
    if len(plan.looks) > 1:
        text.append(
            f"           then {plan.looks[1] - plan.looks[0]} more at a time up to {plan.until} seeds, until"
            f" every verdict is resolved: {len(plan.looks)} looks at most, each at .05 / {len(plan.looks)}"
        )
    text += [
        *(_contrast_lines(plan) if plan.search.verdict else []),
        (f"registered as {registered['hash']}: {registered_words(registered)}"),
        f"gate       {plan.gate} judged at the end of every compared run" if plan.gate else "gate       none",
        f"runs       {_runs(plan)}; {plan.expected_epochs():.0f} epochs expected, {plan.most_epochs} at most",
        (
            f"each trial {r.workers} worker{'s' if r.workers > 1 else ''}"
            f" ({'a plain process' if r.executor == 'process' else r.backend}), {r.cpus}"
            f" CPU{f' and {r.gpus:g} GPU' if r.gpus else ''} per worker;"
            f" {f'{r.concurrent} at once' if r.concurrent else 'as many at once as fit on the cluster'}"
        ),
    ]
    if plan.limits.budget_hours is not None or plan.limits.budget_usd is not None:
        hours = [] if plan.limits.budget_hours is None else [f"{plan.limits.budget_hours:g} hours"]
        price = f"{plan.limits.usd_per_hour:g} per hour"
        usd = [] if plan.limits.budget_usd is None else [f"{plan.limits.budget_usd:g} USD at {price}"]
        either = " or ".join([*hours, *usd])
        text.append(f"budget     {either} of wall time over all sessions; then no new run is started")
    if computed := work(plan.base, plan.expected_epochs(), plan.most_epochs):
        text.append(computed)
    try:
        require_present(plan.config({}, plan.seeds[0]))
    except UsageError as error:
        text.append(f"data       absent, the study would not start: {error}")
    if expected is not None:
        text.append(
            f"time       about {duration(expected)}, at most {duration(most)}, at the preset's measured time per step"
        )
    elif plan.base.runtime.seconds_per_epoch is None:
        told = estimate(plan.base, plan.expected_epochs(), max(1, r.concurrent or 1))
        if told is not None:
            text.append(
                f"time       training {told}: estimated from the encoder's arithmetic, within a factor of about 2"
            )
    return text


def seconds(plan: Plan, epochs: float) -> float | None:
    # arms may differ in how many steps an epoch has, as streams of other batches do
    trained = [plan.config(arm.overrides, plan.seeds[0]) for arm in plan.arms if arm.role != "untrained"]
    of = [measured(config, plan.preset) for config in [*([plan.base] if plan.num_trials else []), *trained]]
    per_epoch = None if None in of or not of else sum(of) / len(of)
    if not plan.resources.concurrent:
        return None  # only the cluster knows
    return None if per_epoch is None else START_SECONDS + epochs * per_epoch / plan.resources.concurrent


def _runs(plan: Plan) -> str:
    kinds = {
        "noise floor": plan.noise_floor,
        "search": plan.num_trials,
        "race": plan.race_runs,
        "comparison": plan.comparison_runs,
    }
    # an arm that the search chooses may be its own reference, or share one with another
    open_ = ("race", "comparison") if plan.chosen else ()
    return " + ".join(f"{'up to ' if kind in open_ else ''}{number} {kind}" for kind, number in kinds.items() if number)


def _contrast_lines(plan: Plan) -> list[str]:
    asked = [one.question for one in plan.declared.contrasts]
    return (
        [f"verdict on {'; '.join(asked)}; everything else is exploratory"]
        if asked
        else ["verdict    on nothing: no primary contrast is declared"]
    )


def _search_lines(plan: Plan) -> list[str]:
    s, stop, stratum = plan.search, plan.stopping, plan.declared.stratum
    if plan.rungs:
        chosen = plan.rule
        among = f" of their {stratum}" if stratum and not stop.together else ""
        rule = (
            f"stopped at epochs {', '.join(map(str, plan.rungs))} of {plan.epochs} unless"
            f" {chosen.standard}{among} ({stop.rule})"
        )
        rule += f", in {chosen.brackets} brackets" if chosen.brackets > 1 else ""
    else:
        rule = f"trained to epoch {plan.epochs} each"
    rule += f", or collapsed (rank of z_agg below {stop.collapse_rank:g})" if stop.collapse_rank else ""
    goal = (
        ""
        if len(s.objectives) == 1
        else f" for the Pareto front of {' and '.join(s.objectives)}, ranked by {s.objectives[0]},"
    )
    mode = f"; deterministic, each suggestion and judgement on the trials up to {s.lag} before it" if s.lag else ""
    most = max(plan.handed_on, default=1)
    top = "trial's settings" if most == 1 else f"{most} trials' settings"
    top += " by smoothed score" if s.choose == "smoothed" else ""
    if plan.declared.metric.name != LINACC:
        top += f" by linear accuracy (not by the {plan.declared.metric.words})"
    if plan.race_runs:
        top += f" race on seed {', '.join(map(str, plan.races))}, and the winner is compared"
    each = f"per {stratum} ({', '.join(plan.confirm)}): " if stratum else ""
    seeds = f"seed {plan.search_seed}" + ("" if s.seed is None else f", the sampler's {s.seed}")
    number = f"{plan.num_trials} trial{'' if plan.num_trials == 1 else 's'}"
    return [
        f"search     {number} on {seeds} ({s.sampler}){goal} {rule}{mode}",
        *(f"           {name}: {text}" for name, text in plan.ranges.items()),
        *(f"           warm start from {folder}" for folder in s.warm_start),
        f"then       {each}the best {top}{', and the reference of the best one' if plan.twins else ''}"
        if s.verdict
        else "then       nothing: a search without a verdict",
    ]
