"""What a study of repetition found, in words and small tables, the same for the terminal and for the report."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from mixopt.formatting import UNKNOWN, amount, counted, known, listed, loss, passes, span
from mixopt.report.document import Board
from mixopt.report.terminal import drawn

OPEN = "or more"
PLACE = "parameters, unique tokens"


def decay_of(arm: Mapping[str, Any]) -> str:
    return f"weight decay {arm['weight_decay']:g}"


def chosen_arm(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return found["arms"][found["chosen"]]


def headline(found: Mapping[str, Any]) -> str:
    """What to do, in a sentence."""
    plan, decay = chosen_arm(found)["plan"], decay_of(chosen_arm(found))
    run = plan["answer"]
    params, text = amount(run["params"]), amount(run["unique"])
    if not run["repeats"]:
        return (
            f"No repetition: see {amount(run['tokens'])} of your {text} unique tokens once, with {params} parameters."
        )
    return f"Train {params} parameters for {passes(run['epochs'])} epochs of your {text} unique tokens, at {decay}."


def answers(found: Mapping[str, Any]) -> str:
    """How sure that is, and what the other ladders answer."""
    plan = chosen_arm(found)["plan"]
    run, ends = plan["answer"], plan["answer"]["interval"]
    level = f"{found['level']:.0%}"
    told = [
        f"Predicted loss {loss(run['loss'])} nats/token. {level} of refits to cells drawn again predict "
        f"{span(ends['loss'], loss) or UNKNOWN}, and answer {span(ends['epochs'], passes)} epochs of "
        f"{span(ends['params'], amount)} parameters."
    ]
    for n, arm in enumerate(found["arms"]):
        if n != found["chosen"]:
            other = arm["plan"]["answer"]
            told.append(
                f"At {decay_of(arm)} the answer would be {passes(other['epochs'])} epochs of {amount(other['params'])} "
                f"parameters, predicted loss {loss(other['loss'])}."
            )
    return " ".join(told)


def margin(found: Mapping[str, Any]) -> str:
    """What one more epoch is worth at the answer."""
    plan = chosen_arm(found)["plan"]
    run, more = plan["answer"], plan["marginal"]
    if not run["repeats"] or not known(more["change"]):
        return ""
    after = f"After {passes(run['epochs'])} epochs one more"
    turn = plan["turning"]["harm"]
    tail = f" From {passes(turn)} epochs on repetition harms this model." if known(turn) else ""
    if more["change"] >= 0:
        return f"{after} lowers nothing.{tail}"
    return (
        f"{after} takes {loss(-more['change'], 4)} nats/token off, as {amount(more['fresh_tokens'])} new tokens would "
        f"({100 * more['fresh_share']:.0f}% of an epoch).{tail}"
    )


def harm(found: Mapping[str, Any]) -> str:
    """The curve that rose most within the ladder: what was measured, without any law."""
    rises = [
        (told["measured_last"] - told["measured_least"], row, decay, told)
        for row in found["best"]
        for decay, told in row["by_decay"].items()
    ]
    rise, row, decay, told = max(rises, key=lambda one: one[0])
    if rise <= 0:
        return "Measured: no curve rose within the ladder."
    return (
        f"Measured: {amount(row['params'])} parameters on {amount(row['unique'])} unique tokens reach "
        f"{loss(told['measured_least'])} nats/token after {whole(told['measured_best'])} epochs and "
        f"{loss(told['measured_last'])} after {whole(told['longest'])} (weight decay {decay}): repetition harms there."
    )


def decays(found: Mapping[str, Any]) -> str:
    """What stronger weight decay changed, as measured; empty for one ladder."""
    names = [f"{arm['weight_decay']:g}" for arm in found["arms"]]
    if len(names) < 2:
        return ""
    weak, strong = names[0], names[-1]
    pairs = [
        (r["by_decay"][weak], r["by_decay"][strong]) for r in found["best"] if {weak, strong} <= set(r["by_decay"])
    ]
    lower = sum(b["measured_least"] < a["measured_least"] for a, b in pairs)
    longer = sum(b["measured_best"] > a["measured_best"] for a, b in pairs)
    return (
        f"Weight decay {strong} bore more epochs than {weak} on {longer} of {counted(len(pairs), 'curve')}, and its "
        f"best cell had the lower loss on {lower}."
    )


def r_star(found: Mapping[str, Any]) -> str:
    """R* of every ladder, with its interval."""
    told = []
    for decay, row in found["r_star"].items():
        if row is not None:
            low = passes(row["low"]) if known(row["low"]) else "0"
            high = passes(row["high"]) if known(row["high"]) else "any size"
            told.append(f"{passes(row['value'])} ({low} to {high}) at weight decay {decay}")
    level = f"{found['level']:.0%}"
    return f"R*, the repeats until text is worth 1/e: {listed(told)}, {level} profile intervals." if told else ""


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Everything worth saying, the answer first: what is predicted, what was measured, R*."""
    predicted = f"{answers(found)} {margin(found)}".strip()
    measured = f"{harm(found)} {decays(found)}".strip()
    return [text for text in (headline(found), predicted, measured, r_star(found)) if text]


def best_board(found: Mapping[str, Any]) -> Board:
    """The best number of epochs at every trained size and amount of text: fitted, and measured."""
    names = [f"{arm['weight_decay']:g}" for arm in found["arms"]]
    rows = []
    for row in found["best"]:
        cells = [f"{amount(row['params'])}, {amount(row['unique'])}"]
        for name in names:
            told = row["by_decay"].get(name)
            cells += [UNKNOWN] * 2 if told is None else [best_told(told), measured_told(told)]
        rows.append(cells)
    headings = [f"{what}, decay {name}" for name in names for what in ("fitted", "measured")]
    note = (
        f"Fitted: where the law's loss is least, with the {found['level']:.0%} interval. Measured: the best trained "
        "cell and its loss; + where it is the longest one, so that the best may lie beyond it."
    )
    return Board("Best number of epochs at the trained sizes", PLACE, headings, rows, None, note)


def best_told(told: Mapping[str, Any]) -> str:
    """Epochs with their interval; open where the loss falls as far as the curve was followed."""
    if not known(told["best"]):
        return f"{passes(told['best_low'])} {OPEN}" if known(told["best_low"]) else "beyond the ladder"
    high = passes(told["best_high"]) if known(told["best_high"]) else "…"
    return f"{passes(told['best'])} ({passes(told['best_low'])}–{high})"


def measured_told(told: Mapping[str, Any]) -> str:
    """The best trained cell: its epochs, with a + where it is the longest, and its loss."""
    ended = "+" if told["measured_best"] >= told["longest"] * (1 - 1e-9) else ""
    return f"{whole(told['measured_best'])}{ended}: {loss(told['measured_least'])}"


def whole(epochs: float) -> str:
    """Epochs as they were asked for."""
    return f"{epochs:.0f}" if abs(epochs - round(epochs)) < 0.02 else passes(epochs)


def score_board(fit: Mapping[str, Any], arm: Mapping[str, Any]) -> Board:
    """Held-out errors of every form in every case."""
    from mixopt.repetition.scores import CASES

    there = [case for case in CASES if any(row["case"] == case for row in arm["scores"])]
    forms = list(dict.fromkeys(row["form"] for row in arm["scores"]))
    errors = {(row["form"], row["case"]): row["rmse"] for row in arm["scores"]}
    rows = []
    for form in forms:
        weight = arm["forms"].get(form, {}).get("weight")
        rows.append([form, UNKNOWN if weight is None else f"{weight:.0%}", *(loss(errors[form, c]) for c in there)])
    note = (
        "Typical error, nats/token, on cells that the form was not fitted to. The average weighs the forms by what "
        "each predicts of cells left out; it answers the question."
    )
    headings = ("weight", *(CASES[case] for case in there))
    return Board(f"Held-out error at weight decay {arm['weight_decay']:g}", "form", headings, rows, 0, note)


def noise_board(fit: Mapping[str, Any]) -> Board:
    """Run-to-run standard deviation by cell."""
    rows = [
        [
            f"{amount(row['params'])}, {amount(row['unique'])}",
            whole(row["epochs"]),
            f"{row['weight_decay']:g}",
            str(row["runs"]),
            loss(row["mean"]),
            loss(row["sd"]),
        ]
        for row in fit["noise"]
    ]
    headings = ("epochs", "weight decay", "runs", "mean loss", "standard deviation")
    return Board("Runs of one cell on other seeds and other text", PLACE, headings, rows)


def show_fit(console: Console, found: Any) -> None:
    for arm in found.record["arms"]:
        console.print(drawn(score_board(found.record, arm)))


def show(console: Console, recommendation: dict[str, Any]) -> None:
    """The answer, what was measured, the best epochs at the trained sizes, and what to be careful about."""

    console.print()
    for n, sentence in enumerate(sentences(recommendation)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    board = best_board(recommendation)
    console.print()
    console.print(drawn(board))
    console.print(escape(board.note), highlight=False, style="dim")
    for warning in recommendation["warnings"]:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False)
