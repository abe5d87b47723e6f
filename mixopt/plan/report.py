"""Documents of the plans: the answer, the forms of the law side by side, marginal values and next steps."""

from collections.abc import Mapping, Sequence

from mixopt.formatting import count_text, epochs_or_never, epochs_text, flops, interval, loss, percent, signed
from mixopt.plan import figures
from mixopt.plan.epochs import EpochsPlan, FormAnswer, Rung
from mixopt.plan.fit import LawFit, RStar
from mixopt.plan.marginal import TIMES, Step
from mixopt.plan.scale import ScaleForm, ScalePlan
from mixopt.report.document import Block, Cells, Column, Document, Figure, Section, Table, columns, table_of, with_codes
from mixopt.runs.extrapolation import kind_text

SPLITS = {"folds": "at random", "epochs": "epochs", "size": "size", "strain": "strain"}
TEXTS_DIFFER = "Sources differ in validation set and tokenizer: compare sizes, not losses."
BLIND = "*: ignores repetition, counts repeated tokens as new ones."


def epochs_document(plan: EpochsPlan, reproduce: Section) -> Document:
    """What `mixopt plan epochs` answered. reproduce: how to get it again."""
    sections = [*epochs_sections(plan), sources(plan.forms), reproduce]
    return document(plan, "Plan: how often to repeat", epochs_headline(plan), epochs_caution(plan), sections)


def scale_document(plan: ScalePlan, reproduce: Section) -> Document:
    """What `mixopt plan scale` answered. reproduce: how to get it again."""
    sections = [*scale_sections(plan), sources(plan.forms), reproduce]
    return document(plan, "Plan: how large, how long", scale_headline(plan), scale_caution(plan), sections)


# Parts that both plans have

BEFORE = {  # what is said before the answer, by the code of the warning that says more
    "few-runs": "This answer rests on few runs.",
    "far-outside": "This answer is far outside what the law was fitted to.",
}


def document(
    plan: EpochsPlan | ScalePlan, title: str, headline: str, summary: Sequence[str], sections: Sequence[Section]
) -> Document:
    scope = (
        f"By the form {plan.form}. Training is counted as 6 N D FLOPs, losses are nats/token on the validation set "
        "and with the tokenizer of the runs that the form was fitted to."
    )
    warnings = with_codes((*plan.notes, *plan.beyond), plan.warning_codes)
    first = [text for code, text in BEFORE.items() if code in plan.warning_codes]
    return Document(title, " ".join([*first, headline]), summary, scope, warnings, sections)


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
    return [f"Plausible range: {', '.join(what)} ({level})."] if what else []


def loss_text(plan: EpochsPlan | ScalePlan) -> list[str]:
    """The interval of a new run's loss in a sentence, where the form was fitted to runs."""
    run = plan.answer
    if run.checked is None:
        return []
    return [f"Loss of a new run: {interval(run.interval['loss'], loss)} nats/token ({kind_text(checked=run.checked)})."]


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
        f"Root mean squared errors of ln loss over {fit.runs} runs: held out at random, or those with the most "
        "epochs, the largest models, the most parameters per unique token. Published constants are not fitted. "
        f"{fit.why}"
    ).rstrip()
    stars = fit.r_star or []
    if stars:
        note += (
            f" R*, the epochs after which a repeat is worth 1/e ({stars[0].level:.0%} of its profile, if a form is "
            f"right): {'; '.join(f'{star.form} {r_star_interval(star)}' for star in stars)}."
        )
    blocks: list[Block] = [Table("Held-out errors", columns("form", "weight", *SPLITS.values()), rows, None, note)]
    if drawn := [star for star in stars if len(star.profile) > 2]:
        caption = (
            "Profile of R*, the epochs after which a repeat is worth 1/e: rise of the fit's objective, all else "
            f"refitted. Dotted: the ends of its {drawn[0].level:.0%} interval, if the form is right."
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
        why = f" That takes {flops(run.compute)} FLOPs; with more, a bigger model pays off more than another epoch."
    return f"Train {params} parameters for {epochs} epochs of your {text} tokens ({tokens} in all): {predicted}.{why}"


def epochs_caution(plan: EpochsPlan) -> list[str]:
    """How sure that is: the form's own interval, and what the others say; nothing of a run that was given."""
    if len(plan.given) == 3:
        return []
    between = plan.disagreement
    parts = [*loss_text(plan), *interval_text(plan, {"params": "parameters", "epochs": "epochs"})]
    params = "" if "params" in plan.given else f"{interval(between.params, count_text)} parameters and "
    if between.forms > 1:
        parts.append(
            f"{between.forms} forms that model repetition give {params}{interval(between.epochs, epochs_text)} epochs; "
            f"if another one is right, this run is up to {loss(between.regret)} nats/token above the optimum at equal "
            "compute."
        )
    return parts


def epochs_sections(plan: EpochsPlan) -> list[Section]:
    """The forms' answers, loss against epochs, the marginal value of one more epoch, and the next steps."""
    caption = "Fewer epochs leave compute for more parameters. A ring marks each form's optimum."
    views = ("above each form's own optimum", "as predicted")
    equal = Figure("compute", caption, figures.loss_at_equal_compute(plan), views)
    caption = "Loss of the recommended model, with its plausible range."
    same = Figure("model", caption, [figures.loss_of_same_model(plan)])
    views = ("value of a repeated token, in new tokens", "loss reduction from the next epoch")
    value = Figure("margin", "Marginal value of repetition for this model.", figures.value_of_epochs(plan), views)
    marginal = [marginal_table(plan), turning_table(plan)] if plan.answer.repeats else []
    return [
        Section("forms", "The forms of the law side by side", [forms_of_epochs(plan)], "Forms", brief=True),
        *([fit_section(plan.fit)] if plan.fit else []),
        Section("compute", "Loss against epochs", [ladder_table(plan), equal], "Epochs", brief=True),
        Section("model", "Training this model longer", [*marginal, same, value], "One more epoch", brief=True),
        Section("next", "Next steps", [next_table(plan)], "Next steps", brief=True),
    ]


def forms_of_epochs(plan: EpochsPlan) -> Table:
    """What each form answers, and what the headline's run would give up by its account."""
    cells: Cells[FormAnswer] = {
        "form": lambda row: form_name(row, plan.form),
        "params": lambda row: count_text(row.params),
        "epochs": lambda row: epochs_text(row.epochs),
        "range": lambda row: interval(row.interval["epochs"], epochs_text),
        "loss": lambda row: loss(row.loss),
        "regret": lambda row: "" if row.form == plan.form else loss(row.regret, 4),
        "repeat": lambda row: "" if row.repeat_value is None else percent(max(row.repeat_value, 0.0)),
    }
    note = (
        "Regret: loss of the run above minus the form's optimum at equal compute. Repeat: value of one "
        f"more repeated token there, as a share of a new one's. {TEXTS_DIFFER}"
    )
    note += "" if all(row.sees_repetition for row in plan.forms) else f" {BLIND}"
    return table_of("Answer of each form of the law", plan.forms, cells, 0, note)


def ladder_table(plan: EpochsPlan) -> Table:
    """Loss against epochs, at equal compute and for the same model."""
    run = plan.answer
    cells: Cells[Rung] = {
        "epochs": lambda row: epochs_text(row.epochs),
        "params": lambda row: count_text(row.params_at_equal_compute),
        "loss": lambda row: loss(row.loss_at_equal_compute),
        count_text(run.params): lambda row: loss(row.loss),
        "range": lambda row: interval(row.interval, loss),
        "one more": lambda row: signed(row.change, 4),
        "in new tokens": lambda row: percent(row.fresh_share),
    }
    note = (
        f"Params, loss: at equal compute, {flops(run.compute)} FLOPs, where fewer epochs leave more for parameters. "
        f"Other columns: for the model of {count_text(run.params)}, its loss, the change from one more epoch, and the "
        "new tokens with the same effect, as a share of that epoch."
    )
    title = f"Loss against epochs of {count_text(run.unique)} tokens, by {plan.form}"
    return table_of(title, plan.ladder, cells, None, note)


def marginal_table(plan: EpochsPlan) -> Table:
    """What one more epoch is worth in loss, in new tokens, in compute."""
    row, run, ends = plan.marginal, plan.answer, plan.marginal.interval
    rows = [
        ("change in loss, nats/token", signed(row.change, 4), interval(ends["change"], lambda x: signed(x, 4))),
        ("new tokens with the same effect", count_text(row.fresh_tokens), interval(ends["fresh_tokens"], count_text)),
        ("the same, as a share of the epoch", percent(row.fresh_share), interval(ends["fresh_share"], percent)),
        ("FLOPs it costs", flops(row.epoch_compute), ""),
        ("FLOPs it is worth, spent optimally", flops(row.equivalent_compute), ""),
        ("FLOPs of an equally good bigger model", flops(row.bigger_model_compute), ""),
    ]
    note = (
        "FLOPs it is worth: by how much the least compute that reaches the loss rises. Bigger model: on the same "
        f"{count_text(run.tokens)} tokens."
    )
    title = f"One more epoch: {count_text(run.unique)} tokens again, after {epochs_text(run.epochs)}"
    return Table(title, columns("quantity", "value", "range"), rows, None, note)


def turning_table(plan: EpochsPlan) -> Table:
    """The epochs from which on something else pays more."""
    labels = {
        "bigger_model": "a bigger model pays off more than another epoch",
        **{f"new_text_{many}": f"a new token is worth {many} repeated ones" for many in TIMES},
        "harm": "another epoch raises the loss",
    }
    ends = plan.turning.interval
    rows = [
        (label, epochs_or_never(getattr(plan.turning, key)), interval(ends[key], epochs_or_never))
        for key, label in labels.items()
    ]
    title = f"Epoch from which something else pays off more ({count_text(plan.answer.params)} parameters)"
    note = "A bigger model pays off more: one percent more compute lowers the loss more as parameters than as tokens."
    return Table(title, columns("what", "epoch", "range"), rows, None, note)


def next_table(plan: EpochsPlan) -> Table:
    """What the run could become."""
    cells: Cells[Step] = {
        "step": lambda row: row.step,
        "params": lambda row: count_text(row.params),
        "epochs": lambda row: epochs_text(row.epochs),
        "FLOPs": lambda row: flops(row.compute),
        "loss": lambda row: loss(row.loss),
        "change": lambda row: "" if row is plan.next[0] else signed(row.change, 4),
    }
    note = "Split best: the parameters and epochs with the lowest loss. Change: relative to this run."
    return table_of("Alternatives", plan.next, cells, 0, note)


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
        return f"{train}, {run.tokens_per_param:.3g} tokens per parameter."
    budget = plan.given.get("compute", run.compute)
    more = run.compute / budget - 1
    over = f", {percent(more)} more than the {flops(budget)} given" if more > 0.01 else ""
    return (
        f"{train} of training{over}. With {count_text(use)} tokens of inference its lifetime cost is "
        f"{flops(run.lifetime_compute)} FLOPs, {percent(plan.saved.share)} less than for the model of equal loss that "
        f"is cheapest to train ({count_text(plain.params)} parameters, {count_text(plain.tokens)} tokens)."
    )


def scale_caution(plan: ScalePlan) -> list[str]:
    """How far apart the answers lie."""
    between = plan.disagreement
    parts = [*loss_text(plan), *interval_text(plan, {"params": "parameters", "tokens": "tokens"})]
    if between.forms > 1:
        parts.append(
            f"{between.forms} forms of the law give {interval(between.params, count_text)} parameters and "
            f"{interval(between.tokens, count_text)} tokens."
        )
    return parts


def scale_sections(plan: ScalePlan) -> list[Section]:
    """The model that is cheapest in its life, the forms' answers, and loss or FLOPs against parameters."""
    caption = (
        "Loss of every form at equal compute; a ring marks its best size."
        if plan.curve.of == "loss"
        else "FLOPs of training and over the lifetime for models of equal loss; a ring marks the cheapest."
    )
    drawn = Figure("size", caption, [figures.curve_over_params(plan)])
    sections = [
        Section("forms", "The forms of the law side by side", [forms_of_scale(plan), drawn], "Forms", brief=True),
        *([fit_section(plan.fit)] if plan.fit else []),
    ]
    if plan.given.get("inference_tokens"):
        sections.insert(
            0, Section("lifetime", "Training and inference", [lifetime_table(plan)], "Inference", brief=True)
        )
    if plan.answer.unique is not None:
        sections.append(Section("epochs", "Epochs", [epochs_table(plan)], "Epochs", brief=True))
    return sections


def forms_of_scale(plan: ScalePlan) -> Table:
    """What each form answers."""
    cells: Cells[ScaleForm] = {
        "form": lambda row: form_name(row, plan.form),
        "params": lambda row: count_text(row.params),
        "range": lambda row: interval(row.interval["params"], count_text),
        "tokens": lambda row: count_text(row.tokens),
        "loss": lambda row: loss(row.loss),
        "FLOPs": lambda row: flops(row.lifetime_compute),
    }
    best = "Each is as good as its form's optimum" if plan.given.get("inference_tokens") else "Each is the optimum"
    note = f"{best} at {flops(plan.plain.compute)} FLOPs of training. {TEXTS_DIFFER}"
    note += f" {BLIND}" if any(row.sees_repetition for row in plan.forms) else ""
    return table_of("Answer of each form of the law", plan.forms, cells, 0, note)


def lifetime_table(plan: ScalePlan) -> Table:
    """The answer beside the model that is cheapest to train, and the best one for the same lifetime FLOPs."""
    runs = {
        "cheapest over its lifetime": plan.answer,
        "cheapest to train": plan.plain,
        "best at equal lifetime FLOPs": plan.same_lifetime,
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
        f"has the lifetime cost of the second and changes the loss by {signed(saved.loss_at_same_lifetime, 4)}."
    )
    headings = columns("model", "params", "tokens", "loss", "training", "inference", "lifetime")
    return Table(
        f"FLOPs with {count_text(plan.given['inference_tokens'])} tokens of inference", headings, rows, 0, note
    )


def epochs_table(plan: ScalePlan) -> Table:
    """How often each form's answer repeats the text."""
    rows = [
        (form_name(row, plan.form), epochs_text(row.epochs), interval(row.interval["epochs"], epochs_text))
        for row in plan.forms
    ]
    title = f"Epochs of {count_text(plan.answer.unique)} unique tokens"
    return Table(title, columns("form", "epochs", "range"), rows, None, "`mixopt plan epochs` has the details.")
