"""Plans of continued pretraining as small tables, the same for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from rich.console import Console
from rich.markup import escape

from mixopt.formatting import UNKNOWN, amount, digits_for, known, loss, passes, share, span
from mixopt.report.document import Board

ROWS = 9  # of a front
TESTS = {"share": "shares", "tokens": "later", "size": "larger"}  # kinds of held-out tests


def boards(plan: Mapping[str, Any]) -> list[Board]:
    found = [choices(plan), sizes(plan), front(plan), predictors(plan), published(plan)]
    return [board for board in found if board is not None]


def _about(plan: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, ...]:
    """Size, tokens and passes of a run, as far as plans differ in them."""
    cells = [amount(run["params"])] if plan["sizes"] else []
    cells += [amount(run["tokens"])] if _lengths(plan) else []
    return (*cells, *([passes(run["passes"])] if run["passes"] is not None else []))


def _headings(plan: Mapping[str, Any]) -> tuple[str, ...]:
    repeats = any(run["passes"] is not None for run in plan["front"])
    size, tokens = ("params",) if plan["sizes"] else (), ("tokens",) if _lengths(plan) else ()
    return (*size, *tokens, *(("passes",) if repeats else ()))


def _lengths(plan: Mapping[str, Any]) -> bool:
    """Whether runs of the plan differ in tokens."""
    tokens = [run["tokens"] for run in plan["front"] if run["tokens"] is not None]
    return bool(tokens) and max(tokens) > 1.001 * min(tokens)


def choices(plan: Mapping[str, Any]) -> Board:
    """The answer beside what else could be chosen, with intervals."""
    wanted = change(plan["tolerance"])
    labels = {
        "answer": f"domain loss lowest, general {wanted} or less",
        "sure": f"{plan['sure_at']:.0%} sure of {wanted} or less",
        "trained": "the same, at shares that were trained",
        "free": "general loss no higher than its start",
        "least_rise": "general loss lowest",
    }
    rows = []
    for key, label in labels.items():
        run = plan[key]
        if run is None or (key == "least_rise" and plan["answer"]):
            continue
        rows.append(
            (
                label + (" *" if run["outside"] else ""),
                told_share(run["general_share"]),
                general_range(run["chosen"]) if "chosen" in run else "",
                give_or_take(run["domain"], run["ends"]["domain"]),
                change(run["rise"]),
                span(tuple(run["ends"]["rise"].values()), change),
                *_about(plan, run),
            )
        )
    note = f"Ranges: {plan['level']:.0%} intervals over {plan['draws']} worlds that the runs don't rule out."
    note += " *: outside what was trained." if any(row[0].endswith("*") for row in rows) else ""
    headings = ("general text", "range", "domain loss", "general loss", "range", *_headings(plan))
    marked = 0 if plan["answer"] else None
    return Board("How much general text to keep", "so that", headings, rows, marked, note)


def sizes(plan: Mapping[str, Any]) -> Board | None:
    """The best of every trained size for the compute."""
    if not plan["sizes"]:
        return None
    rows = []
    for row in plan["sizes"]:
        run = row["best"]
        cells = (told_share(run["general_share"]), loss(run["domain"]), change(run["rise"])) if run else (UNKNOWN,) * 3
        rows.append((amount(row["params"]), amount(row["tokens"]), *cells))
    note = f"At 6 N D = {plan['given']['compute']:.3g} FLOPs. –: no share keeps the tolerance."
    headings = ("tokens", "general text", "domain loss", "general loss")
    return Board("The sizes that were trained", "parameters", headings, rows, note=note)


def front(plan: Mapping[str, Any]) -> Board:
    """Some runs of the front, and how well Optuna's search agrees with it."""
    runs: Sequence[Mapping[str, Any]] = plan["front"]
    places = sorted({round(n * (len(runs) - 1) / (ROWS - 1)) for n in range(ROWS)})
    rows = [
        (
            told_share(run["general_share"]) + (" *" if run["outside"] else ""),
            loss(run["domain"]),
            loss(run["general"]),
            change(run["rise"]),
            *_about(plan, run),
        )
        for run in (runs[n] for n in places)
    ]
    note = "No run is better in one loss without being worse in the other."
    note += " *: outside what was trained." if any(run["outside"] for run in runs) else ""
    if plan["search"]:
        search = plan["search"]
        note += (
            f" Optuna's {search['sampler']}, {search['trials']} trials, finds {100 * search['hypervolume_ratio']:.2f}% "
            "of this front's hypervolume."
        )
    headings = ("domain loss", "general loss", "change", *_headings(plan))
    return Board("The front of both losses", "general text", headings, rows, note=note)


def predictors(plan: Mapping[str, Any]) -> Board | None:
    """What predicts each loss: weights and held-out errors of laws and curves."""
    losses = plan["losses"]
    kinds = [kind for kind in TESTS if any(kind in found["held_out"] for found in losses.values())]
    names = list(dict.fromkeys(name for found in losses.values() for name in found["weights"]))
    if not names or not kinds:
        return None
    rows = []
    for name in [*names, "blend"]:
        cells: list[str] = []
        for found in losses.values():
            weight = found["weights"].get(name)
            cells.append(share(weight) if known(weight) else "")
            cells += [loss(found["held_out"].get(kind, {}).get(name), 4) for kind in kinds]
        rows.append((name + (" (used)" if name == "blend" else ""), *cells))
    headings = [f"{of}: {what}" for of in losses for what in ("weight", *(TESTS[kind] for kind in kinds))]
    told = "; ".join(f"{of} loss ({found['column']}): {made_of(found)}" for of, found in losses.items())
    note = (
        "Mean absolute errors on held-out runs, nats/token: shares left out; checkpoints later, or models larger, than "
        f"all that were fitted. {told[0].upper() + told[1:]}."
    )
    return Board("What predicts the losses", "law or curve", headings, rows, len(rows) - 1, note)


def published(plan: Mapping[str, Any]) -> Board | None:
    """Published critical shares beside the runs' own."""
    if not plan["published"]:
        return None
    rows = [(one["size"], told_share(1 - one["share"])) for one in plan["published"]]
    if plan["free"]:
        rows.append(("these runs", told_share(plan["free"]["general_share"])))
    run = plan["answer"] or plan["least_rise"]
    note = (
        f"Of {plan['published'][0]['source']}, at {amount(run['tokens'])} tokens; for their texts and recipe, to "
        "compare with."
    )
    title = "General text with which its loss comes back to the start, as published"
    return Board(title, "model", ("general text",), rows, len(rows) - 1 if plan["free"] else None, note)


# Plans of continued pretraining in words: the answer, how sure it is, what limits it.


LAWS = {"d-cpt": "the D-CPT law", "shift": "the shift law", "interpolation": "interpolation"}
SELDOM = 0.02  # of the worlds: not worth a word
NO_CHANGE = 5e-4  # of a loss: told as no change


def change(value: Any) -> str:
    """A change of the general loss against its start, as a percentage with its sign."""
    if not known(value):
        return "–"
    if abs(value) < NO_CHANGE:
        return "±0.0%"
    return ("+" if value > 0 else "−") + f"{abs(100 * value):.1f}%"


def told_share(value: Any) -> str:
    """A share as a percentage; the last few percent of a share are told to a tenth."""
    return f"{100 * value:.1f}%" if known(value) and 0.9 < value < 1 else share(value)


def give_or_take(value: float, ends: Mapping[str, Any]) -> str:
    """A loss ± half of its interval."""
    low, high = ends["low"], ends["high"]
    if not (known(low) and known(high)):
        return loss(value)
    digits = max(digits_for(high - low), 3) if high - low < 0.002 else min(digits_for(high - low), 3)
    return f"{loss(value, digits)} ± {loss((high - low) / 2, digits)}"


def general_range(chosen: Mapping[str, Any]) -> str:
    """The interval of the general share that each world by itself would choose."""
    low, high = chosen["share_ends"]
    return span((1 - high, 1 - low), told_share) if known(low) else ""


def headline(plan: Mapping[str, Any]) -> str:
    """What to do, in a sentence."""
    run = plan["answer"]
    if run is None:
        return refusal(plan)
    keep = f"eep {told_share(run['general_share'])} general text"
    what = f"Train {amount(run['params'])} parameters for {amount(run['tokens'])} tokens and k{keep}"
    if not plan["sizes"]:
        what = f"K{keep}"
        if run["passes"] is not None:
            text = f"{passes(run['passes'])} passes over {amount(plan['given']['domain_tokens'])} of domain text"
            what += f" in {amount(run['tokens'])} tokens ({text})"
        elif run["tokens"] is not None:
            what += f" in {amount(run['tokens'])} tokens"
    told = f"{what}: domain loss {give_or_take(run['domain'], run['ends']['domain'])}, "
    return told + f"general loss {change(run['rise'])}."


def refusal(plan: Mapping[str, Any]) -> str:
    """That no share keeps the tolerance, the least rise there is, and where."""
    best, (low, high) = plan["least_rise"], plan["looked_at"]
    needed = ceil(1000 * best["rise"] + 1e-6) / 10
    return (
        f"no share from {told_share(1 - high)} to {told_share(1 - low)} general text keeps the general loss within "
        f"{change(plan['tolerance'])} of its start: the least is {change(best['rise'])}, with "
        f"{told_share(best['general_share'])} general text (domain loss {loss(best['domain'])}): allow it with "
        f"--tolerance {needed:.1f}%"
    )


def cautions(plan: Mapping[str, Any]) -> list[str]:
    """How sure the answer is, and what else could be chosen, in sentences."""
    told = [_sure(plan), _trained(plan), _free(plan)] if plan["answer"] else [_free(plan)]
    return [sentence for sentence in told if sentence]


def _sure(plan: Mapping[str, Any]) -> str:
    run, sure = plan["answer"], plan["sure"]
    rise = span(tuple(run["ends"]["rise"].values()), change)
    told = f"Not a point ({plan['level']:.0%} intervals): {general_range(run['chosen'])} general text would be best"
    told += f", of {span(run['chosen']['params_ends'], amount)} parameters" if plan["sizes"] else ""
    told += f"; the general loss of this run changes by {rise}{_never(run['chosen'])}. "
    if sure is None:
        return told + f"No share is {plan['sure_at']:.0%} sure to keep it within {change(plan['tolerance'])}."
    return (
        f"{told}To be {plan['sure_at']:.0%} sure of {change(plan['tolerance'])} or less keep "
        f"{told_share(sure['general_share'])}: domain loss {give_or_take(sure['domain'], sure['ends']['domain'])}."
    )


def _never(chosen: Mapping[str, Any]) -> str:
    """In how much of the worlds nothing that was looked at does, where that is worth a word."""
    return f" (in {share(chosen['none_in'])} of the worlds no share does)" if chosen["none_in"] > SELDOM else ""


def _trained(plan: Mapping[str, Any]) -> str:
    run = plan["trained"]
    if run is None:
        return ""
    return (
        f"Among the shares that were trained the best is {told_share(run['general_share'])} general text: domain loss "
        f"{give_or_take(run['domain'], run['ends']['domain'])}, general loss {change(run['rise'])}."
    )


def _free(plan: Mapping[str, Any]) -> str:
    run, best = plan["free"], plan["least_rise"]
    if run is None:
        return (
            f"No replay is free: of all that was looked at, up to {told_share(1 - plan['looked_at'][0])} general text, "
            f"{told_share(best['general_share'])} raises the general loss least, by {change(best['rise'])}."
        )
    away = ", outside what was trained" if run["outside"] else ""
    if run["rise"] < -NO_CHANGE:  # nothing that was looked at costs anything
        where = f"{told_share(run['general_share'])} general text" + (f" ({away[2:]})" if away else "")
        return f"Even with {where} the general loss ends below its start ({change(run['rise'])})."
    return (
        f"With {told_share(run['general_share'])} general text ({general_range(run['chosen'])}{away}) the general loss "
        f"ends where it began{_never(run['chosen'])}: domain loss {give_or_take(run['domain'], run['ends']['domain'])}."
    )


def warnings(plan: Mapping[str, Any]) -> list[str]:
    """What limits the answer: extrapolation, what the laws warn of, what was assumed."""
    told = [*plan["beyond"]]
    for of, found in plan["losses"].items():
        told += [f"{of.capitalize()} loss: {text}." for text in map(_bare, found["cautions"])]
        told += _curves_better(of, found)
    return told + list(plan["notes"])


def _bare(text: str) -> str:
    return text.rstrip(".")


def _curves_better(of: str, found: Mapping[str, Any]) -> list[str]:
    """Where the last loss seen predicts later checkpoints better than every law does."""
    errors: Mapping[str, float] = found["held_out"].get("tokens") or {}
    laws = [error for name, error in errors.items() if name.removesuffix(" carried") in ("d-cpt", "shift")]
    if not laws or not known(errors.get("interpolation")) or errors["interpolation"] >= min(laws):
        return []
    return [
        f"{of.capitalize()} loss: later checkpoints that were held out are predicted better by the last loss seen than "
        f"by any law ({loss(errors['interpolation'], 4)} against {loss(min(laws), 4)} nats/token); weights follow that."
    ]


def made_of(found: Mapping[str, Any]) -> str:
    """What predicts a loss: '52% the shift law, 42% the D-CPT law and 6% interpolation'."""
    weights: Mapping[str, float] = found["weights"]
    if not weights:
        return str(LAWS.get(found["law"], found["law"]))
    named = sorted(weights.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{share(w)} {LAWS.get(name, name)}" for name, w in named)


def said(plan: Mapping[str, Any]) -> Sequence[str]:
    """The answer in a sentence, then how sure it is."""
    first = headline(plan)
    return [first[0].upper() + first[1:], *cautions(plan)]


def show_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Sentences, the first of them the answer; tables; what limits all of it."""
    from mixopt.report.terminal import drawn

    console.print()
    for n, sentence in enumerate(said(plan)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    for board in boards(plan):
        console.print()
        console.print(drawn(board))
        if board.note:
            console.print(escape(board.note), highlight=False, style="dim")
    for sentence in warnings(plan):
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)


def show_fit(console: Console, found: Any) -> None:
    from mixopt.continual.fit import LOSSES, evidence
    from mixopt.report.terminal import drawn

    board = predictors({"losses": {of: evidence(found, of) for of in LOSSES}})
    if board is not None:
        console.print(drawn(board))
