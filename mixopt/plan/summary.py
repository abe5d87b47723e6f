"""Plans of every kind in words and small tables, the same for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from mixopt.formatting import amount, flops, loss, passes, share, signed, span, times
from mixopt.report.document import Board
from mixopt.report.terminal import drawn

SPLITS = {"folds": "at random", "epochs": "epochs", "size": "size", "strain": "strain"}


def said(plan: Mapping[str, Any]) -> list[str]:
    """The answer in a sentence, then how sure it is."""
    kind = plan["kind"]
    return [text for text in (HEADLINES[kind](plan), CAUTIONS[kind](plan)) if text]


def tables(plan: Mapping[str, Any]) -> list[Board]:
    found = BOARDS[plan["kind"]](plan)
    return found if plan["fit"] is None else [found[0], fit_board(plan["fit"]), *found[1:]]


def fit_board(fit: Mapping[str, Any]) -> Board:
    """How well each form predicts runs that it was not fitted to."""
    rows = [
        (
            row["form"],
            "" if row["weight"] is None else share(row["weight"]),
            *(loss(row["errors"][kind]) if kind in row["errors"] else "" for kind in SPLITS),
        )
        for row in fit["judged"]
    ]
    note = (
        f"Root mean squared errors of ln loss over {fit['runs']} runs: left out at random, or those with the most "
        "epochs, the largest models, the most parameters a unique token. Published constants are not fitted."
    )
    stars = fit.get("r_star")
    if stars:
        spans = "; ".join(f"{star['form']} {span_of(star)}" for star in stars)
        note += (
            f" R*, the epochs after which a repeat is worth 1/e ({stars[0]['level']:.0%} of its profile, if a form is "
            f"right): {spans}."
        )
    return Board("Errors on runs left out", "form", ("weight", *SPLITS.values()), rows, None, note)


def span_of(star: Mapping[str, Any]) -> str:
    """The interval of a profile, which may have no end on a side."""
    low = "any" if star["open_low"] or star["low"] is None else passes(star["low"])
    high = "no end" if star["open_high"] or star["high"] is None else passes(star["high"])
    return f"{low} to {high}"


def warnings(plan: Mapping[str, Any]) -> list[str]:
    """What limits the answer."""
    return [*plan["notes"], *plan["beyond"]]


# What `mixopt plan epochs` found, in words and small tables.


NEW_TEXT = "new_text_"


def epochs_headline(plan: Mapping[str, Any]) -> str:
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


def epochs_caution(plan: Mapping[str, Any]) -> str:
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


def epochs_form_board(plan: Mapping[str, Any]) -> Board:
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


def epochs_boards(plan: Mapping[str, Any]) -> list[Board]:
    found = [epochs_form_board(plan), ladder_board(plan)]
    found += [marginal_board(plan), turning_board(plan)] if plan["answer"]["repeats"] else []
    return [*found, next_board(plan)]


# What `mixopt plan scale` found, in words and small tables.


def scale_headline(plan: Mapping[str, Any]) -> str:
    """What to train, and what that saves where the model will be used."""
    run = plan["answer"]
    epochs = f" ({passes(run['epochs'])} epochs of {amount(run['unique'])})" if run["repeats"] else ""
    told = (
        f"Train {amount(run['params'])} parameters on {amount(run['tokens'])} tokens{epochs}: predicted loss "
        f"{loss(run['loss'])} nats/token for {flops(run['compute'])} FLOPs"
    )
    if not plan["given"].get("inference_tokens"):
        return f"{told}, {run['tokens_per_param']:.3g} tokens a parameter."
    plain, saved = plan["plain"], plan["saved"]
    return (
        f"{told} of training. With {amount(plan['given']['inference_tokens'])} tokens of use it costs "
        f"{flops(run['lifetime_compute'])} FLOPs in its life, {share(saved['share'])} less than the model of equal "
        f"loss that is cheapest to train ({amount(plain['params'])} parameters, {amount(plain['tokens'])} tokens)."
    )


def scale_caution(plan: Mapping[str, Any]) -> str:
    """How far apart the answers lie."""
    between, ends, told = plan["disagreement"], plan["answer"]["interval"], []
    if ends and ends["params"]:
        over = plan["interval"]
        level = f"{over['level']:.0%} of {over['over']}" if over["level"] else over["over"]
        told.append(
            f"Not a point: {span(ends['params'], amount)} parameters, {span(ends['tokens'], amount)} tokens ({level})."
        )
    if between["forms"] > 1:
        told.append(
            f"{between['forms']} forms of the law say {span(between['params'], amount)} parameters and "
            f"{span(between['tokens'], amount)} tokens."
        )
    return " ".join(told)


def scale_form_board(plan: Mapping[str, Any]) -> Board:
    """What each form answers."""
    rows, marked = [], None
    for n, row in enumerate(plan["forms"]):
        leads = row["form"] == plan["form"]
        marked = n if leads else marked
        ends = row["interval"]["params"]
        cells = (amount(row["params"]), span(ends, amount), amount(row["tokens"]), loss(row["loss"]))
        rows.append((named(row, leads), *cells, flops(row["lifetime_compute"])))
    used = bool(plan["given"].get("inference_tokens"))
    told = "Each is as good as its own best" if used else "Each is the best"
    note = (
        f"{told} of {flops(plan['plain']['compute'])} FLOPs of training. Losses of different sources are of different "
        "texts and tokenizers: compare sizes, not losses."
    )
    if any(row["sees_repetition"] for row in plan["forms"]):
        note += " *: knows nothing of repetition, takes repeated tokens for new ones."
    return Board(
        "What each form of the law says", "form", ("params", "range", "tokens", "loss", "FLOPs"), rows, marked, note
    )


def life_board(plan: Mapping[str, Any]) -> Board:
    """The answer beside the model that is cheapest to train, and the best one for the same lifetime FLOPs."""
    names = {"answer": "cheapest in its life", "plain": "cheapest to train", "same_lifetime": "best for as many FLOPs"}
    rows = [
        (
            label,
            amount(row["params"]),
            amount(row["tokens"]),
            loss(row["loss"], 4),
            flops(row["compute"]),
            flops(row["inference_compute"]),
            flops(row["lifetime_compute"]),
        )
        for key, label in names.items()
        for row in [plan[key]]
    ]
    note = (
        f"The first saves {flops(plan['saved']['flops'])} FLOPs ({share(plan['saved']['share'])}) at the loss of the "
        f"second; the third spends what the second costs in its life and changes the loss by "
        f"{signed(plan['saved']['loss_at_same_lifetime'], 4)}."
    )
    headings = ("params", "tokens", "loss", "training", "use", "life")
    return Board(
        f"FLOPs with {amount(plan['given']['inference_tokens'])} tokens of use", "model", headings, rows, 0, note
    )


def epochs_board(plan: Mapping[str, Any]) -> Board:
    """How often each form's answer repeats the text."""
    rows = [
        (named(row, row["form"] == plan["form"]), passes(row["epochs"]), span(row["interval"]["epochs"], passes))
        for row in plan["forms"]
    ]
    title = f"Epochs of {amount(plan['answer']['unique'])} unique tokens"
    return Board(title, "form", ("epochs", "range"), rows, None, "`mixopt plan epochs` tells more of them.")


def scale_boards(plan: Mapping[str, Any]) -> list[Board]:
    found = [life_board(plan)] if plan["given"].get("inference_tokens") else []
    found.append(scale_form_board(plan))
    return [*found, epochs_board(plan)] if plan["answer"]["unique"] else found


def show(console: Console, plan: Mapping[str, Any]) -> None:
    """A plan of any kind: sentences, the first of them the answer; tables; what limits all of it."""
    console.print()
    for n, sentence in enumerate(said(plan)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    for board in tables(plan):
        console.print()
        console.print(drawn(board))
        if board.note:
            console.print(escape(board.note), highlight=False, style="dim")
    for sentence in warnings(plan):
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)


def named(row: Mapping[str, Any], leads: bool) -> str:
    """A form's name in a table: whether its answer is the one above, and whether it knows of repetition."""
    return row["form"] + (" *" if row["sees_repetition"] is False else "") + (" (used)" if leads else "")


HEADLINES = {"epochs": epochs_headline, "scale": scale_headline}
CAUTIONS = {"epochs": epochs_caution, "scale": scale_caution}
BOARDS = {"epochs": epochs_boards, "scale": scale_boards}
