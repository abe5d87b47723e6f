"""What `mixopt plan epochs` found, in words and small tables."""

from collections.abc import Mapping
from typing import Any

from mixopt.plan.words import Board, flops, named, span, times
from mixopt.report.words import amount, loss, passes, share, signed

NEW_TEXT = "new_text_"


def headline(plan: Mapping[str, Any]) -> str:
    """What to do, in a sentence."""
    run, given = plan["answer"], plan["given"]
    params, tokens, text = (amount(run[key]) for key in ("params", "tokens", "unique"))
    predicted = f"predicted loss {loss(run['loss'])} nats/token"
    of_a_run = len(given) == 3
    if not run["repeats"]:
        told = f"No repetition: {tokens} of your {text} unique tokens are seen once"
        if of_a_run:
            return f"{told} ({passes(run['epochs'])} epochs) by {params} parameters, {predicted}."
        return f"{told} ({passes(run['epochs'])} epochs), by a model of {params} parameters: {predicted}."
    if of_a_run:
        return (
            f"{params} parameters after {passes(run['epochs'])} epochs of your {text} tokens ({tokens}): {predicted}."
        )
    told = f"{passes(run['epochs'])} epochs of your {text} tokens ({tokens} in all)"
    why = ""
    if "compute" not in given:
        why = f" That takes {flops(run['compute'])} FLOPs; with more, a bigger model pays more than another epoch."
    return f"Train {params} parameters for {told}: {predicted}.{why}"


def caution(plan: Mapping[str, Any]) -> str:
    """How sure that is: the form's own interval, and what the others say."""
    ends, over = plan["answer"]["interval"], plan["interval"]
    told = []
    if len(plan["given"]) < 3 and ends["epochs"] is not None:
        which = over["over"] or plan["form"]
        level = f"{over['level']:.0%} of {which}" if over["level"] else which[0].upper() + which[1:]
        what = f"{span(ends['params'], amount)} parameters, {span(ends['epochs'], passes)} epochs"
        told.append(f"Not a point: {what} ({level}).")
    between = plan["disagreement"]
    if len(plan["given"]) < 3 and between["forms"] > 1:
        told.append(
            f"{between['forms']} forms that see repetition say {span(between['params'], amount)} parameters and "
            f"{span(between['epochs'], passes)} epochs; if another one is right, this run is up to "
            f"{loss(between['regret'])} nats/token above the best of equal compute."
        )
    return " ".join(told)


def form_board(plan: Mapping[str, Any]) -> Board:
    """What each form answers, and what the headline's run would give up by its account."""
    rows, marked = [], None
    for n, row in enumerate(plan["forms"]):
        leads = row["form"] == plan["form"]
        marked = n if leads else marked
        rows.append(
            (
                named(row, leads),
                amount(row["params"]),
                passes(row["epochs"]),
                span(row["interval"]["epochs"], passes),
                loss(row["loss"]),
                "" if leads else loss(row["regret"], 4),
                "" if row["repeat_value"] is None else share(max(row["repeat_value"], 0.0)),
            )
        )
    blind = any(not row["sees_repetition"] for row in plan["forms"])
    note = (
        "Regret: what the run above gives up, by this form's account, against the best of equal compute. Repeat: what "
        "one more repeated token is worth there, in new ones. Losses of different sources are of different texts and "
        "tokenizers: compare sizes, not losses."
    )
    note += " *: knows nothing of repetition, takes repeated tokens for new ones." if blind else ""
    headings = ("params", "epochs", "range", "loss", "regret", "repeat")
    return Board("What each form of the law says", "form", headings, rows, marked, note)


def ladder_board(plan: Mapping[str, Any]) -> Board:
    """Loss against epochs, at equal compute and for the same model."""
    rows = [
        (
            passes(row["epochs"]),
            amount(row["params_at_equal_compute"]),
            loss(row["loss_at_equal_compute"]),
            loss(row["loss"]),
            span(row["interval"], loss),
            signed(row["change"], 4),
            share(row["fresh_share"]),
        )
        for row in plan["ladder"]
    ]
    run = plan["answer"]
    title = f"Loss against epochs of {amount(run['unique'])} tokens, by {plan['form']}"
    headings = ("params", "loss", amount(run["params"]), "range", "next", "worth")
    note = (
        f"Params and their loss: at equal compute, {flops(run['compute'])} FLOPs, of which fewer epochs leave more for "
        f"parameters. Then the model of {amount(run['params'])}: its loss, what one more epoch changes, and the new "
        "tokens worth as much as that epoch, as a share of it."
    )
    return Board(title, "epochs", headings, rows, None, note)


def marginal_board(plan: Mapping[str, Any]) -> Board:
    """What one more epoch is worth in loss, in new tokens, in compute."""
    row, run = plan["marginal"], plan["answer"]
    ends = row["interval"]
    rows = [
        ("change of the loss, nats/token", signed(row["change"], 4), span(ends["change"], lambda x: signed(x, 4))),
        (
            "new tokens that would do as much",
            amount(row["fresh_tokens"]),
            span(ends["fresh_tokens"], amount),
        ),
        ("the same, as a share of the epoch", share(row["fresh_share"]), span(ends["fresh_share"], share)),
        ("FLOPs it costs", flops(row["epoch_compute"]), ""),
        ("FLOPs it is worth, spent best", flops(row["equivalent_compute"]), ""),
        ("FLOPs of a bigger model as good", flops(row["bigger_model_compute"]), ""),
    ]
    title = f"One more epoch: {amount(run['unique'])} tokens again, after {passes(run['epochs'])}"
    note = (
        "Worth, spent best: by how much the least compute that reaches the loss rises. A bigger model as good: on the "
        f"same {amount(run['tokens'])} tokens."
    )
    return Board(title, "what it is worth", ("", "range"), rows, None, note)


def turning_board(plan: Mapping[str, Any]) -> Board:
    """The epochs from which on something else pays more."""
    row, run = plan["turning"], plan["answer"]
    ends = row["interval"]
    rows = [
        ("a bigger model pays more than another epoch", times(row["bigger_model"]), span(ends["bigger_model"], times))
    ]
    for key in row:
        if key.startswith(NEW_TEXT):
            label = f"a new token is worth {key.removeprefix(NEW_TEXT)} repeated ones"
            rows.append((label, times(row[key]), span(ends[key], times)))
    rows.append(("another epoch harms", times(row["harm"]), span(ends["harm"], times)))
    title = f"From which epoch on something else pays more ({amount(run['params'])} parameters)"
    note = "A bigger model: one percent more compute lowers the loss more as parameters than as tokens."
    return Board(title, "what", ("epoch", "range"), rows, None, note)


def next_board(plan: Mapping[str, Any]) -> Board:
    """What the run could become."""
    rows = [
        (
            row["step"],
            amount(row["params"]),
            passes(row["epochs"]),
            flops(row["compute"]),
            loss(row["loss"]),
            signed(row["change"], 4) if n else "",
        )
        for n, row in enumerate(plan["next"])
    ]
    note = "Split best: the parameters and epochs with the least loss. Change: against this run."
    return Board("What else could be done", "step", ("params", "epochs", "FLOPs", "loss", "change"), rows, 0, note)


def boards(plan: Mapping[str, Any]) -> list[Board]:
    found = [form_board(plan), ladder_board(plan)]
    found += [marginal_board(plan), turning_board(plan)] if plan["answer"]["repeats"] else []
    return [*found, next_board(plan)]
