"""What `mixopt plan scale` found, in words and small tables."""

from collections.abc import Mapping
from typing import Any

from mixopt.plan.words import Board, flops, named, span
from mixopt.report.words import amount, loss, passes, share, signed


def headline(plan: Mapping[str, Any]) -> str:
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


def caution(plan: Mapping[str, Any]) -> str:
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


def form_board(plan: Mapping[str, Any]) -> Board:
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


def boards(plan: Mapping[str, Any]) -> list[Board]:
    found = [life_board(plan)] if plan["given"].get("inference_tokens") else []
    found.append(form_board(plan))
    return [*found, epochs_board(plan)] if plan["answer"]["unique"] else found
