"""The full run: sentences and tables of its predicted loss, and of what changes with scale."""

from __future__ import annotations

from mixopt.formatting import (
    UNKNOWN,
    count_text,
    counted,
    epochs_text,
    known,
    listed,
    loss,
    percent,
    percent_cell,
    scale,
    signed,
)
from mixopt.mixture.results import Gain, Prediction, Recommendation, Scale
from mixopt.report.document import Block, Paragraph, Section, Table, columns
from mixopt.runs.extrapolation import kind_text

WIDENED = 1.05  # times: less isn't worth a word
MIXTURES = {"recommended": "Recommended", "natural": "Natural", "uniform": "Uniform"}
COMPARED = MIXTURES | {"smallest_rung": "Smallest rung's best"}


def full_sentences(found: Recommendation) -> list[str]:
    """What the full run is predicted to reach, and how far to trust that; nothing without a ladder."""
    full, ours = found.full, found.full.predicted and found.full.predicted.recommended
    if ours is None or full.beyond is None:
        return []
    text = f"Predicted target loss of the full run, {scale(full.to_json())}: {loss(ours.loss, 2)} nats/token"
    text += f" or {ours.bits_per_byte:.2f} bits/byte" if known(ours.bits_per_byte) else ""
    text += f" by the proxies' tokenizer ({range_name(found)}: {bounds(ours, 2)})"
    others = {"natural": "natural", "uniform": "uniform", "smallest_rung": "what the smallest rung alone recommends"}
    gains = [f"{signed_gain(gain, 3)} {others[name]}" for name, gain in full.gains.items()]
    return [f"{text}. It is {listed(gains)}.", held_out_text(found)]


def signed_gain(gain: Gain, places: int) -> str:
    """How far the recommendation is below another mixture, and the range of that."""
    if not known(gain.loss):
        return UNKNOWN
    side, ends = ("below", (gain.low, gain.high)) if gain.loss >= 0 else ("above", (gain.high, gain.low))
    known_ends = [end if gain.loss >= 0 else -end for end in ends if known(end)]
    text = f" ({signed(known_ends[0], places)} to {signed(known_ends[1], places)})" if len(known_ends) == 2 else ""
    return f"{abs(gain.loss):.{places}f}{text} {side}"


def range_name(found: Recommendation) -> str:
    """An interval where ranges at such a distance were checked, or a range that wasn't."""
    return kind_text(checked=bool(found.full.predicted and found.full.predicted.of("recommended").checked))


def held_out_text(found: Recommendation) -> str:
    """How far the full run lies beyond the ladder, and what was checked at which distance."""
    full, held = found.full, found.full.held_out
    beyond = full.beyond or Scale()
    text = f"That is {times(beyond.params)} the parameters and {times(beyond.tokens)} the tokens of the largest rung"
    if held is None or not known(held.error):
        return f"{text}; the runs are too few to leave that rung out and check the prediction."
    text += (
        f". Left out of the fit, that rung ({times(held.beyond.params)} the parameters and {times(held.beyond.tokens)} "
        f"the tokens of the one below) was predicted with a mean error of {held.error:.1%} over "
        f"{counted(held.runs, 'run')} and all validation sets"
    )
    if known(held.difference_error):
        text += f", differences between its runs within {loss(held.difference_error)} nats/token on average"
    text += f"; {percent(held.inside)} of its losses lay in their 80% ranges"
    if held.widening > WIDENED:
        text += f", so ranges are widened {held.widening:.1f} times"
    return f"{text}."


def times(ratio: float | None) -> str:
    return UNKNOWN if not known(ratio) else f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def full_section(found: Recommendation) -> Section | None:
    """The full run's predicted losses, and what changes with scale; None without a ladder."""
    if found.full.predicted is None:
        return None
    blocks: list[Block] = [full_table(found), rungs_table(found), Paragraph(drift_text(found))]
    return Section("full-run", "The full run", blocks, "The full run", brief=True)


def full_table(found: Recommendation) -> Table:
    """Predicted loss of the full run under each mixture, and the recommendation's gain over it."""
    predicted, gains, rows = found.full.predicted, found.full.gains, []
    for name, label in COMPARED.items():
        row = getattr(predicted, name, None)
        if row is not None and known(row.loss):
            gain = gains.get(name)
            cells = (loss(gain.loss), interval_text(gain)) if gain else ("", "")
            rows.append((label, loss(row.loss), bounds(row), loss(row.bits_per_byte), *cells))
    checked = found.full.predicted is not None and found.full.predicted.of("recommended").checked
    of, gap = ("80% interval", "Its 80% interval") if checked else ("Range, not checked", "Its range")
    headings = columns("Mixture", "Predicted", of, "Bits/byte", "Recommended is lower by", gap, strong="Predicted")
    note = (
        "Ranges hold over what the runs don't decide: the loss that no model gets below, how fast the rest falls, and "
        "how far the mixtures' effects go on changing. Gains are known better than losses: what is uncertain is common "
        "to all mixtures. Losses are per token of the proxies' tokenizer; bits/byte compare with other tokenizers."
    )
    title = f"Target loss of the full run, nats/token, at {scale(found.full.to_json())}"
    return Table(title, headings, rows, marked=0, note=note).without_empty_columns()


def interval_text(gain: Gain) -> str:
    return f"{signed(gain.low)} to {signed(gain.high)}" if known(gain.low) and known(gain.high) else UNKNOWN


def rungs_table(found: Recommendation) -> Table:
    """Every domain's share in the best mixture at each rung and at the full run, and its epochs there."""
    rungs = found.full.rungs
    names = [f"{count_text(rung.params)}, {count_text(rung.tokens)} tokens" for rung in rungs]
    rows = [
        (
            row.domain,
            *(percent_cell(rung.best.get(row.domain)) for rung in rungs),
            percent_cell(row.recommended),
            epochs_text(row.epochs),
        )
        for row in found.ranked
    ]
    headings = columns("Domain", *names, "Full run", "Epochs there", strong="Full run")
    note = "Rungs: non-embedding parameters and tokens of the proxies. All at the repetition of the full run."
    return Table("Best share by scale", headings, rows, note=note).without_empty_columns()


MOVED = 0.05  # of the tokens: a mixture that moves less stays where it is


def drift_text(found: Recommendation) -> str:
    """Whether the answer changes with scale, and what following the smallest rung would cost."""
    first, gain = found.full.rungs[0].best, found.full.gains.get("smallest_rung")
    here = found.shares("recommended")
    moved = sum(abs(here.get(name, 0.0) - share) for name, share in first.items()) / 2
    if moved < MOVED:
        text = f"The best mixture hardly moves with scale: by {percent(moved)} of the tokens"
        return f"{text} from the smallest rung to the full run."
    text = f"{percent(moved)} of the tokens move from the smallest rung's best mixture to the full run's"
    if gain is None or not known(gain.loss):
        return f"{text}."
    return f"{text}; following the smallest rung would cost {loss(gain.loss)} nats/token there ({interval_text(gain)})."


def interval_name(found: Recommendation) -> str:
    return f"{100 * found.interval.level:.0f}% interval" if known(found.interval.level) else "interval"


def bounds(row: Prediction, places: int = 3) -> str:
    return f"{loss(row.low, places)} to {loss(row.high, places)}" if row.bounded else UNKNOWN
