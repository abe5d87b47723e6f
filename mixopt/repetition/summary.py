"""Summary of a repetition study: the recommended epochs, what was measured, and tables of epochs, scores and noise."""

from collections.abc import Sequence

from mixopt.formatting import UNKNOWN, count_text, counted, epochs_text, interval, known, listed, loss, percent
from mixopt.repetition import figures
from mixopt.repetition.curves import BestEpochs
from mixopt.repetition.fit import AVERAGE, GroupFit, RepetitionFit, fit_text
from mixopt.repetition.recommend import Recommendation
from mixopt.repetition.scores import CASES, Noise
from mixopt.report.document import Block, Column, Document, Figure, Paragraph, Section, Table, columns


def document(found: Recommendation) -> Document:
    """The answer, how sure it is, what was measured, and the best epochs at the trained sizes."""
    predicted = f"{predicted_text(found)} {marginal_text(found)}".strip()
    measured = f"{measured_text(found)} {weight_decay_text(found)}".strip()
    return Document(
        title=f"Repetition: {found.study}",
        headline=headline(found),
        summary=[text for text in (predicted, measured, r_star_text(found)) if text],
        warnings=found.limitations,
        sections=[best_section(found)],
    )


def fit_document(fit: RepetitionFit) -> Document:
    """Held-out scores of every form, and the noise floor."""
    sections = [scores_section(fit), *([noise_section(fit.noise)] if fit.noise else [])]
    return Document(title=f"Fit: {fit.study}", headline=f"Held-out {fit_text(fit)}.", sections=sections)


def decay_text(weight_decay: float) -> str:
    return f"weight decay {weight_decay:g}"


def headline(found: Recommendation) -> str:
    """What to do, in a sentence."""
    run = found.recommended.plan.answer
    params, text = count_text(run.params), count_text(run.unique)
    if not run.repeats:
        return (
            f"No repetition: see {count_text(run.tokens)} of your {text} unique tokens once, with {params} parameters."
        )
    decay = decay_text(found.recommended.weight_decay)
    return f"Train {params} parameters for {epochs_text(run.epochs)} epochs of your {text} unique tokens, at {decay}."


def predicted_text(found: Recommendation) -> str:
    """How sure the answer is, and what the other weight decays answer."""
    run = found.recommended.plan.answer
    texts = {"loss": loss, "epochs": epochs_text, "params": count_text}
    ends = {key: interval(run.interval[key], text) or UNKNOWN for key, text in texts.items()}
    parts = [
        f"Predicted loss {loss(run.loss)} nats/token. {found.level:.0%} of refits to bootstrap resamples predict "
        f"{ends['loss']} and recommend {ends['epochs']} epochs of {ends['params']} parameters."
    ]
    for n, group in enumerate(found.arms):
        if n != found.chosen:
            other = group.plan.answer
            parts.append(
                f"At {decay_text(group.weight_decay)} the answer would be {epochs_text(other.epochs)} epochs of "
                f"{count_text(other.params)} parameters, predicted loss {loss(other.loss)}."
            )
    return " ".join(parts)


def marginal_text(found: Recommendation) -> str:
    """The marginal value of one more epoch at the answer."""
    plan = found.recommended.plan
    run, more, harm = plan.answer, plan.marginal, plan.turning.harm
    if not run.repeats or not known(more.change):
        return ""
    after = f"After {epochs_text(run.epochs)} epochs one more"
    tail = f" From {epochs_text(harm)} epochs on repetition hurts this model." if known(harm) else ""
    if more.change >= 0:
        return f"{after} does not lower the loss.{tail}"
    return (
        f"{after} lowers the loss by {loss(-more.change, 4)} nats/token, as much as {count_text(more.fresh_tokens)} "
        f"new tokens would ({100 * more.fresh_share:.0f}% of an epoch).{tail}"
    )


def measured_text(found: Recommendation) -> str:
    """The curve that rose most within the ladder: what was measured, without any law."""
    curves = [(one, row, decay) for row in found.best for decay, one in row.by_decay.items()]
    top, row, decay = max(curves, key=lambda curve: curve[0].rise)
    if top.rise <= 0:
        return "Measured: the loss did not rise with epochs in any trained configuration."
    return (
        f"Measured: {count_text(row.params)} parameters on {count_text(row.unique)} unique tokens reach "
        f"{loss(top.measured_least)} nats/token after {epochs(top.measured_best)} epochs and "
        f"{loss(top.measured_last)} after {epochs(top.longest)} (weight decay {decay}): repetition hurts there."
    )


def weight_decay_text(found: Recommendation) -> str:
    """What stronger weight decay changed, as measured; empty for a single one."""
    names = [f"{group.weight_decay:g}" for group in found.arms]
    weak, strong = names[0], names[-1]
    pairs = [(row.by_decay[weak], row.by_decay[strong]) for row in found.best if {weak, strong} <= row.by_decay.keys()]
    if len(names) < 2 or not pairs:
        return ""
    lower = sum(b.measured_least < a.measured_least for a, b in pairs)
    longer = sum(b.measured_best > a.measured_best for a, b in pairs)
    return (
        f"With weight decay {strong} the best epoch count was higher than with {weak} on {longer} of "
        f"{counted(len(pairs), 'curve')}, and the best loss was lower on {lower}."
    )


def r_star_text(found: Recommendation) -> str:
    """R* of every weight decay, with its interval."""
    parts = [
        f"{epochs_text(row.value)} ({' to '.join(row.ends)}) at weight decay {decay}"
        for decay, row in found.r_star.items()
        if row is not None
    ]
    meaning = "R*, the repeats after which a token counts for 1/e of a new one"
    return f"{meaning}: {listed(parts)}, {found.level:.0%} profile intervals." if parts else ""


# Sections of the terminal and the page


def best_section(found: Recommendation) -> Section:
    """The best number of epochs at every trained size and number of unique tokens: fitted, and measured."""
    rows = [
        (count_text(row.params), count_text(row.unique), decay, *best_cells(best))
        for row in found.best
        for decay, best in row.by_decay.items()
    ]
    names = ("parameters", "unique tokens", "weight decay", "best epochs", f"{found.level:.0%} interval", "best run",
             "its loss")  # fmt: skip
    note = (
        "Best epochs: where the fitted loss is lowest. Best run: the epochs of the trained run with the lowest loss; + "
        "marks the longest run, where the optimum may lie beyond it."
    )
    table = Table("Best number of epochs at the trained sizes", list(map(Column, names)), rows, None, note)
    return Section("best", "How many epochs were best", [table], "Best epochs", brief=True)


def best_cells(best: BestEpochs) -> tuple[str, ...]:
    """The fitted best epochs with their interval, open where the loss falls as far as the curve was followed; the
    epochs of the best trained run, with a + where it is the longest, and its loss."""
    low, high = best.best_low, best.best_high
    to = "or more" if high is None else f"to {epochs_text(high)}"
    between = "beyond the runs" if low is None else f"{epochs_text(low)} {to}"
    longest = "+" if best.measured_best >= best.longest * (1 - 1e-9) else ""
    return epochs_text(best.best), between, epochs(best.measured_best) + longest, loss(best.measured_least)


def epochs(value: float) -> str:
    """Epochs as the design gives them."""
    return f"{value:.0f}" if abs(value - round(value)) < 0.02 else epochs_text(value)


def scores_section(fit: RepetitionFit) -> Section:
    """Held-out errors of every form, and the average's predictions against what was measured."""
    sd = max((row.sd for row in fit.noise), default=None)
    noise = "" if sd is None else f" Runs of one configuration differ by up to {loss(sd)} (standard deviation)."
    caption = "Each point is a run that the average of forms had not seen. On the dashed line the prediction is exact."
    blocks: list[Block] = [
        Paragraph(
            "Every form was fitted without some runs and scored on them: root mean squared errors, nats/token. The "
            f"average weights the forms by their held-out predictions; the recommendation is the average's.{noise}"
        ),
        Figure(
            "held-out",
            caption,
            [figures.held_out(group.held_out, AVERAGE) for group in fit.arms],
            [decay_text(group.weight_decay) for group in fit.arms],
        ),
        *map(score_table, fit.arms),
    ]
    return Section("scores", "Cross-validation", blocks, "Cross-validation", brief=True)


def score_table(group: GroupFit) -> Table:
    """Held-out errors of every form in every case."""
    cases = [case for case in CASES if any(row.case == case for row in group.scores)]
    errors = {(row.form, row.case): row.rmse for row in group.scores}
    rows = []
    for form in dict.fromkeys(row.form for row in group.scores):
        weight = group.forms[form].weight if form in group.forms else None
        rows.append((form, percent(weight), *(loss(errors[form, case]) for case in cases)))
    headings = columns("form", "weight", *(CASES[case] for case in cases))
    return Table(f"Held-out error at {decay_text(group.weight_decay)}", headings, rows, 0)


def noise_section(noise: Sequence[Noise]) -> Section:
    """Run-to-run standard deviation by configuration."""
    if not noise:
        text = "No configuration was trained twice, so run-to-run noise is unknown."
        return Section("noise", "Noise floor", [Paragraph(text)], "Noise")
    rows = [
        (
            count_text(row.params),
            count_text(row.unique),
            epochs(row.epochs),
            f"{row.weight_decay:g}",
            str(row.runs),
            loss(row.mean),
            loss(row.sd),
        )
        for row in noise
    ]
    names = ("parameters", "unique tokens", "epochs", "weight decay", "runs", "mean loss", "standard deviation")
    table = Table("Runs of one configuration on other seeds and other text", list(map(Column, names)), rows)
    return Section("noise", "Noise floor", [table], "Noise", brief=True)
