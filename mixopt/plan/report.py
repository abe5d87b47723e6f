"""Documents of the plans: the answer, the forms of the law side by side, marginal values and next steps."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from mixopt.formatting import count_text, epochs_or_never, epochs_text, flops, interval, loss, percent, signed
from mixopt.plan import figures
from mixopt.plan.epochs import EpochsPlan, FormAnswer
from mixopt.plan.fit import LawFit, RStar
from mixopt.plan.marginal import TIMES
from mixopt.plan.scale import ScaleForm, ScalePlan
from mixopt.report.document import Block, Column, Document, Figure, Section, Table, Warning

SPLITS = {"folds": "at random", "epochs": "epochs", "size": "size", "strain": "strain"}
TEXTS_DIFFER = "Losses of different sources are of different texts and tokenizers: compare sizes, not losses."
BLIND = "*: knows nothing of repetition, takes repeated tokens for new ones."


def epochs_document(plan: EpochsPlan, reproduce: Section) -> Document:
    """What `mixopt plan epochs` answered. reproduce: how to get it again."""
    sections = [*epochs_sections(plan), sources(plan.forms), reproduce]
    return document(plan, "Plan: how often to repeat", epochs_headline(plan), epochs_caution(plan), sections)


def scale_document(plan: ScalePlan, reproduce: Section) -> Document:
    """What `mixopt plan scale` answered. reproduce: how to get it again."""
    sections = [*scale_sections(plan), sources(plan.forms), reproduce]
    return document(plan, "Plan: how large, how long", scale_headline(plan), scale_caution(plan), sections)


# Parts that both plans have


def document(
    plan: EpochsPlan | ScalePlan, title: str, headline: str, summary: Sequence[str], sections: Sequence[Section]
) -> Document:
    scope = (
        f"By the form {plan.form}. Training is counted as 6 N D FLOPs, losses are nats/token of the text and the "
        "tokenizer that the form was fitted to."
    )
    return Document(title, headline, summary, scope, limitations(plan), sections)


def limitations(plan: EpochsPlan | ScalePlan) -> list[Warning]:
    """What limits the answer; plans of older versions have no codes."""
    pairs = zip_longest((*plan.notes, *plan.beyond), plan.warning_codes, fillvalue="")
    return [Warning(code, text) for text, code in pairs]


def interval_text(plan: EpochsPlan | ScalePlan, names: Mapping[str, str]) -> list[str]:
    """The intervals of these values of the answer in a sentence, if any is known."""
    over = plan.interval.over or plan.form
    level = f"{plan.interval.level:.0%} of {over}" if plan.interval.level else over[0].upper() + over[1:]
    ends = {name: plan.answer.interval[name] for name in names}
    what = [
        f"{interval(ends[name], epochs_text if name == 'epochs' else count_text)} {text}"
        for name, text in names.items()
        if ends[name] is not None
    ]
    return [f"Not a point: {', '.join(what)} ({level})."] if what else []


def columns(first: str, *others: str) -> list[Column]:
    return [Column(first, numeric=False), *map(Column, others)]


def form_name(row: FormAnswer | ScaleForm, leading: str) -> str:
    """A form's name in a table: whether its answer is the headline's, and whether it knows of repetition."""
    return row.form + (" *" if row.sees_repetition is False else "") + (" (used)" if row.form == leading else "")


def fit_section(fit: LawFit) -> Section:
    """How well each form predicts runs that it was not fitted to, and what these know of R*."""
    rows = []
    for row in fit.judged:
        errors = [loss(row.errors[kind]) if kind in row.errors else "" for kind in SPLITS]
        rows.append((row.form, "" if row.weight is None else percent(row.weight), *errors))
    note = (
        f"Root mean squared errors of ln loss over {fit.runs} runs: left out at random, or those with the most "
        "epochs, the largest models, the most parameters a unique token. Published constants are not fitted."
    )
    stars = fit.r_star or []
    if stars:
        note += (
            f" R*, the epochs after which a repeat is worth 1/e ({stars[0].level:.0%} of its profile, if a form is "
            f"right): {'; '.join(f'{star.form} {r_star_interval(star)}' for star in stars)}."
        )
    blocks: list[Block] = [
        Table("Errors on runs left out", columns("form", "weight", *SPLITS.values()), rows, None, note)
    ]
    if drawn := [star for star in stars if len(star.profile) > 2]:
        caption = (
            "Rise of the fit's objective when R*, the epochs after which a repeat is worth 1/e, is held elsewhere and "
            f"all else is fitted again. Dotted: the ends of its {drawn[0].level:.0%} interval, if the form is right."
        )
        names = [f"{star.form}, weight {percent(star.weight)}" for star in drawn]
        blocks.append(Figure("r-star", caption, [figures.r_star_profile(star) for star in drawn], names))
    return Section("fit", "How well the forms predict your runs", blocks, "Fit", brief=True)


def r_star_interval(star: RStar) -> str:
    """The interval of a profile, which may have no end on a side."""
    low = "any" if star.open_low or star.low is None else epochs_text(star.low)
    high = "no end" if star.open_high or star.high is None else epochs_text(star.high)
    return f"{low} to {high}"


def sources(forms: Sequence[FormAnswer | ScaleForm]) -> Section:
    """Where each form's constants come from."""
    wide = [Column(name, numeric=False, wide=True) for name in ("Source", "Fitted to")]
    rows = [(row.form, row.source, row.note) for row in forms]
    table = Table("Where the constants come from", [Column("Form", numeric=False), *wide], rows)
    return Section("sources", "The forms and their sources", [table], "Sources")


# `mixopt plan epochs`


def epochs_headline(plan: EpochsPlan) -> str:
    """What to do, in a sentence."""
    run, of_a_run = plan.answer, len(plan.given) == 3
    params, tokens, text = map(count_text, (run.params, run.tokens, run.unique))
    epochs = epochs_text(run.epochs)
    predicted = f"predicted loss {loss(run.loss)} nats/token"
    if not run.repeats:
        once = f"No repetition: {tokens} of your {text} unique tokens are seen once ({epochs} epochs)"
        return once + (f" by {params}" if of_a_run else f", by a model of {params}") + f" parameters: {predicted}."
    if of_a_run:
        return f"{params} parameters after {epochs} epochs of your {text} tokens ({tokens}): {predicted}."
    why = ""
    if "compute" not in plan.given:
        why = f" That takes {flops(run.compute)} FLOPs; with more, a bigger model pays more than another epoch."
    return f"Train {params} parameters for {epochs} epochs of your {text} tokens ({tokens} in all): {predicted}.{why}"


def epochs_caution(plan: EpochsPlan) -> list[str]:
    """How sure that is: the form's own interval, and what the others say; nothing of a run that was given."""
    if len(plan.given) == 3:
        return []
    between, parts = plan.disagreement, interval_text(plan, {"params": "parameters", "epochs": "epochs"})
    if between.forms > 1:
        parts.append(
            f"{between.forms} forms that see repetition say {interval(between.params, count_text)} parameters and "
            f"{interval(between.epochs, epochs_text)} epochs; if another one is right, this run is up to "
            f"{loss(between.regret)} nats/token above the best of equal compute."
        )
    return parts


def epochs_sections(plan: EpochsPlan) -> list[Section]:
    """The forms' answers, loss against epochs, the marginal value of one more epoch, and the next steps."""
    caption = "Fewer epochs leave compute for more parameters. A ring marks where each form has its best."
    views = ("above each form's own best", "as predicted")
    equal = Figure("compute", caption, figures.loss_at_equal_compute(plan), views)
    caption = "Loss of the answer's model, with the range that the evidence allows."
    same = Figure("model", caption, [figures.loss_of_same_model(plan)])
    views = ("a repeated token, in new ones", "loss that the next epoch takes off")
    value = Figure("margin", "What repeating is worth to it, epoch by epoch.", figures.value_of_epochs(plan), views)
    marginal = [marginal_table(plan), turning_table(plan)] if plan.answer.repeats else []
    return [
        Section("forms", "The forms of the law side by side", [forms_of_epochs(plan)], "Forms", brief=True),
        *([fit_section(plan.fit)] if plan.fit else []),
        Section("compute", "Loss against epochs", [ladder_table(plan), equal], "Epochs", brief=True),
        Section("model", "Going on with this model", [*marginal, same, value], "One more epoch", brief=True),
        Section("next", "Next steps", [next_table(plan)], "Next steps", brief=True),
    ]


def forms_of_epochs(plan: EpochsPlan) -> Table:
    """What each form answers, and what the headline's run would give up by its account."""
    rows = [
        (
            form_name(row, plan.form),
            count_text(row.params),
            epochs_text(row.epochs),
            interval(row.interval["epochs"], epochs_text),
            loss(row.loss),
            "" if row.form == plan.form else loss(row.regret, 4),
            "" if row.repeat_value is None else percent(max(row.repeat_value, 0.0)),
        )
        for row in plan.forms
    ]
    note = (
        "Regret: what the run above gives up, by this form's account, against the best of equal compute. Repeat: what "
        f"one more repeated token is worth there, in new ones. {TEXTS_DIFFER}"
    )
    note += "" if all(row.sees_repetition for row in plan.forms) else f" {BLIND}"
    headings = columns("form", "params", "epochs", "range", "loss", "regret", "repeat")
    return Table("What each form of the law says", headings, rows, leading_row(plan), note)


def leading_row(plan: EpochsPlan | ScalePlan) -> int | None:
    return next((n for n, row in enumerate(plan.forms) if row.form == plan.form), None)


def ladder_table(plan: EpochsPlan) -> Table:
    """Loss against epochs, at equal compute and for the same model."""
    rows = [
        (
            epochs_text(row.epochs),
            count_text(row.params_at_equal_compute),
            loss(row.loss_at_equal_compute),
            loss(row.loss),
            interval(row.interval, loss),
            signed(row.change, 4),
            percent(row.fresh_share),
        )
        for row in plan.ladder
    ]
    run = plan.answer
    note = (
        f"Params and their loss: at equal compute, {flops(run.compute)} FLOPs, of which fewer epochs leave more for "
        f"parameters. Then the model of {count_text(run.params)}: its loss, what one more epoch changes, and the new "
        "tokens that would change as much, as a share of that epoch."
    )
    headings = columns("epochs", "params", "loss", count_text(run.params), "range", "one more", "in new tokens")
    return Table(f"Loss against epochs of {count_text(run.unique)} tokens, by {plan.form}", headings, rows, None, note)


def marginal_table(plan: EpochsPlan) -> Table:
    """What one more epoch is worth in loss, in new tokens, in compute."""
    row, run, ends = plan.marginal, plan.answer, plan.marginal.interval
    rows = [
        ("change of the loss, nats/token", signed(row.change, 4), interval(ends["change"], lambda x: signed(x, 4))),
        ("new tokens that would do as much", count_text(row.fresh_tokens), interval(ends["fresh_tokens"], count_text)),
        ("the same, as a share of the epoch", percent(row.fresh_share), interval(ends["fresh_share"], percent)),
        ("FLOPs it costs", flops(row.epoch_compute), ""),
        ("FLOPs it is worth, spent best", flops(row.equivalent_compute), ""),
        ("FLOPs of a bigger model as good", flops(row.bigger_model_compute), ""),
    ]
    note = (
        "Worth, spent best: by how much the least compute that reaches the loss rises. A bigger model as good: on the "
        f"same {count_text(run.tokens)} tokens."
    )
    title = f"One more epoch: {count_text(run.unique)} tokens again, after {epochs_text(run.epochs)}"
    return Table(title, columns("quantity", "value", "range"), rows, None, note)


def turning_table(plan: EpochsPlan) -> Table:
    """The epochs from which on something else pays more."""
    labels = {
        "bigger_model": "a bigger model pays more than another epoch",
        **{f"new_text_{many}": f"a new token is worth {many} repeated ones" for many in TIMES},
        "harm": "another epoch harms",
    }
    ends = plan.turning.interval
    rows = [
        (label, epochs_or_never(getattr(plan.turning, key)), interval(ends[key], epochs_or_never))
        for key, label in labels.items()
    ]
    title = f"From which epoch on something else pays more ({count_text(plan.answer.params)} parameters)"
    note = "A bigger model: one percent more compute lowers the loss more as parameters than as tokens."
    return Table(title, columns("what", "epoch", "range"), rows, None, note)


def next_table(plan: EpochsPlan) -> Table:
    """What the run could become."""
    rows = [
        (
            row.step,
            count_text(row.params),
            epochs_text(row.epochs),
            flops(row.compute),
            loss(row.loss),
            signed(row.change, 4) if n else "",
        )
        for n, row in enumerate(plan.next)
    ]
    note = "Split best: the parameters and epochs with the least loss. Change: against this run."
    headings = columns("step", "params", "epochs", "FLOPs", "loss", "change")
    return Table("What else could be done", headings, rows, 0, note)


# `mixopt plan scale`


def scale_headline(plan: ScalePlan) -> str:
    """What to train, and what that saves where the model will be used."""
    run, plain = plan.answer, plan.plain
    epochs = f" ({epochs_text(run.epochs)} epochs of {count_text(run.unique)})" if run.repeats else ""
    train = (
        f"Train {count_text(run.params)} parameters on {count_text(run.tokens)} tokens{epochs}: predicted loss "
        f"{loss(run.loss)} nats/token for {flops(run.compute)} FLOPs"
    )
    if not (use := plan.given.get("inference_tokens")):
        return f"{train}, {run.tokens_per_param:.3g} tokens a parameter."
    return (
        f"{train} of training. With {count_text(use)} tokens of use it costs {flops(run.lifetime_compute)} FLOPs in "
        f"its life, {percent(plan.saved.share)} less than the model of equal loss that is cheapest to train "
        f"({count_text(plain.params)} parameters, {count_text(plain.tokens)} tokens)."
    )


def scale_caution(plan: ScalePlan) -> list[str]:
    """How far apart the answers lie."""
    between, parts = plan.disagreement, interval_text(plan, {"params": "parameters", "tokens": "tokens"})
    if between.forms > 1:
        parts.append(
            f"{between.forms} forms of the law say {interval(between.params, count_text)} parameters and "
            f"{interval(between.tokens, count_text)} tokens."
        )
    return parts


def scale_sections(plan: ScalePlan) -> list[Section]:
    """The model that is cheapest in its life, the forms' answers, and loss or FLOPs against parameters."""
    caption = (
        "Loss of every form at equal compute; a ring marks its best size."
        if plan.curve.of == "loss"
        else "FLOPs of training and of a whole life for models of equal loss; a ring marks the cheapest."
    )
    drawn = Figure("size", caption, [figures.curve_over_params(plan)])
    sections = [
        Section("forms", "The forms of the law side by side", [forms_of_scale(plan), drawn], "Forms", brief=True),
        *([fit_section(plan.fit)] if plan.fit else []),
    ]
    if plan.given.get("inference_tokens"):
        sections.insert(0, Section("lifetime", "Training and use", [lifetime_table(plan)], "Use", brief=True))
    if plan.answer.unique is not None:
        sections.append(Section("epochs", "Epochs", [epochs_table(plan)], "Epochs", brief=True))
    return sections


def forms_of_scale(plan: ScalePlan) -> Table:
    """What each form answers."""
    rows = [
        (
            form_name(row, plan.form),
            count_text(row.params),
            interval(row.interval["params"], count_text),
            count_text(row.tokens),
            loss(row.loss),
            flops(row.lifetime_compute),
        )
        for row in plan.forms
    ]
    best = "Each is as good as its own best" if plan.given.get("inference_tokens") else "Each is the best"
    note = f"{best} of {flops(plan.plain.compute)} FLOPs of training. {TEXTS_DIFFER}"
    note += f" {BLIND}" if any(row.sees_repetition for row in plan.forms) else ""
    headings = columns("form", "params", "range", "tokens", "loss", "FLOPs")
    return Table("What each form of the law says", headings, rows, leading_row(plan), note)


def lifetime_table(plan: ScalePlan) -> Table:
    """The answer beside the model that is cheapest to train, and the best one for the same lifetime FLOPs."""
    runs = {
        "cheapest in its life": plan.answer,
        "cheapest to train": plan.plain,
        "best for as many FLOPs": plan.same_lifetime,
    }
    rows = [
        (
            label,
            count_text(run.params),
            count_text(run.tokens),
            loss(run.loss, 4),
            *map(flops, (run.compute, run.inference_compute, run.lifetime_compute)),
        )
        for label, run in runs.items()
    ]
    saved = plan.saved
    note = (
        f"The first saves {flops(saved.flops)} FLOPs ({percent(saved.share)}) at the loss of the second; the third "
        f"spends what the second costs in its life and changes the loss by {signed(saved.loss_at_same_lifetime, 4)}."
    )
    headings = columns("model", "params", "tokens", "loss", "training", "use", "life")
    return Table(f"FLOPs with {count_text(plan.given['inference_tokens'])} tokens of use", headings, rows, 0, note)


def epochs_table(plan: ScalePlan) -> Table:
    """How often each form's answer repeats the text."""
    rows = [
        (form_name(row, plan.form), epochs_text(row.epochs), interval(row.interval["epochs"], epochs_text))
        for row in plan.forms
    ]
    title = f"Epochs of {count_text(plan.answer.unique)} unique tokens"
    return Table(title, columns("form", "epochs", "range"), rows, None, "`mixopt plan epochs` tells more of them.")
