"""Plans of continued pretraining as small tables, the same for the terminal and for the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.continual.said import change, general_range, give_or_take, made_of, told_share
from mixopt.plan.words import Board, span
from mixopt.report.words import UNKNOWN, amount, known, loss, passes, share

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
