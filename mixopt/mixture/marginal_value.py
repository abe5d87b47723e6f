"""Marginal value of unique text and of caps: sentences and a table of the shadow prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixopt.formatting import UNKNOWN, count_text, counted, epochs_text, known, listed, loss, two_digits
from mixopt.mixture.results import RepetitionEvidence, RStar, RStarEvidence
from mixopt.report.document import Block, Listing, Paragraph, Section, Table, columns
from mixopt.search.shadow_prices import CapPrice, DomainPrices, Price, ShadowPrices

MAX_PRICED = 40  # domains in the table of prices
PRICED_PART = 0.1  # of a pool: what the table prices
MAX_R_STARS = 8  # validation sets whose R* is given
MIN_GAIN = 1e-6  # nats/token that twice the unique text would bring: a price below that is none
SIZES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
MAX_PART = 0.25  # of a pool; amounts are named that are no larger, as prices hold for small changes
NAMED = 3  # domains named after the first


def price_sentences(priced: ShadowPrices | None) -> list[str]:
    """Sentences on the shadow prices, what matters most first; none where the recommendation says nothing of them."""
    if priced is None:
        return []
    if priced.why:
        return [f"The marginal value of unique text is unknown: {priced.why}."]
    rows = [row for row in priced.domains if row.unique]
    valued = sorted((row for row in rows if _matters(row)), key=lambda row: -_gain(row.unique))
    sentences = []
    if not priced.sees_repetition:
        what = "known only as far as it relaxes a cap on epochs" if valued else "unknown"
        sentences.append(
            "The predictor sees shares alone, not how often text is repeated: the marginal value of unique text is "
            f"{what}."
        )
    elif not valued:
        sentences.append(_nothing_to_gain(rows))
    if valued:
        sentences += [_first(valued[0], priced), *_others(valued)]
    return [*sentences, *_caps(priced)]


def main_price_sentences(priced: ShadowPrices | None) -> list[str]:
    """The one or two sentences that matter most; none where there is nothing to say."""
    sentences = price_sentences(priced)
    if priced is not None and (priced.why or not priced.sees_repetition):
        capped = any(row.cap and _gain(row.cap) > MIN_GAIN for row in priced.domains)
        return sentences[-1:] if capped else []
    return sentences[:2]


def _gain(price: Price | None) -> float:
    return price.gain if price is not None and known(price.gain) else 0.0


def _pool(row: DomainPrices) -> float:
    return row.pool or 0.0


def _matters(row: DomainPrices) -> bool:
    return _gain(row.unique) * _pool(row) > MIN_GAIN


def _nothing_to_gain(rows: Sequence[DomainPrices]) -> str:
    repeated = [row.domain for row in rows if (row.epochs or 0.0) > 1 + 1e-6]
    if not repeated:
        return "No domain is repeated: more unique text would change nothing at this budget."
    which = f"{listed(repeated)} {'is' if len(repeated) == 1 else 'are'} repeated"
    return f"{which}, but by the fitted law more unique text would not lower the loss."


def _first(row: DomainPrices, priced: ShadowPrices) -> str:
    worth, pool = row.worth, _pool(row)
    if worth is None or worth.gain is None:
        fall = f"{two_digits(0.1 * pool * _gain(row.unique))} nats/token{_interval(row.unique, priced, 0.1 * pool)}"
        text = (
            f"10% more unique text of {row.domain} ({_tokens(0.1 * pool)} tokens) would lower the loss by about {fall}."
        )
        if worth is None:
            return text
        return f"On these runs, a longer run on the same text would not lower the loss. {text}"
    size, name = _unit(pool)
    one = f"One {name}more unique token{'s' if size > 1 else ''} of {row.domain}"
    span = _interval(worth, priced, size, _tokens)
    return f"{one} {'are' if size > 1 else 'is'} worth {_tokens(size * worth.gain)} more training tokens{span}."


def _others(valued: Sequence[DomainPrices]) -> list[str]:
    """The same amount of the next domains' text, beside the first's."""
    if len(valued) < 2:
        return []
    first, rest = valued[0], valued[1 : 1 + NAMED]
    if all(row.worth and row.worth.gain is not None for row in valued):
        size, name = _unit(_pool(first))
        each = [f"{_tokens(size * _gain(row.worth))} for {row.domain}" for row in rest]
        text = f"The same for one {name}more unique token{'s' if size > 1 else ''} of another domain: {listed(each)}"
    else:
        each = [f"{two_digits(0.1 * _pool(first) * _gain(row.unique))} for {row.domain}" for row in rest]
        text = f"The same number of unique tokens of another domain would lower it by {listed(each)}"
    more = len(valued) - 1 - len(rest)
    return [text + (f", and less for {more} other{'s' if more > 1 else ''}." if more else ".")]


def _step(cap: CapPrice) -> float:
    """How far a cap is raised in words: by 10% of its epochs, or by 1% of the tokens."""
    return 0.1 * cap.at if cap.setting == "max_epochs" else 0.01


def cap_text(cap: CapPrice, at: float | None = None) -> str:
    at = cap.at if at is None else at
    return f"{at:.3g} epochs" if cap.setting == "max_epochs" else f"{at:.1%} of the tokens"


def _caps(priced: ShadowPrices) -> list[str]:
    """What a higher cap would bring, for the cap that costs most."""
    capped = [(_gain(row.cap) * _step(row.cap), row.domain, row.cap) for row in priced.domains if row.cap]
    capped = sorted((one for one in capped if one[0] > MIN_GAIN), key=lambda one: -one[0])
    if not capped:
        return []
    gain, domain, cap = capped[0]
    raised = f"from {cap_text(cap).split()[0]} to {cap_text(cap, cap.at + _step(cap))}"
    fall = f"{two_digits(gain)} nats/token{_interval(cap, priced, _step(cap))}"
    more = len(capped) - 1
    costs = "the cap on another domain costs" if more == 1 else f"those on {more} others cost"
    rest = f"; {costs} less" if more else ""
    return [f"Raising the cap on {domain} {raised} would lower the loss by about {fall}{rest}."]


def _interval(price: Price | None, priced: ShadowPrices, size: float, text: Callable[[float], str] = two_digits) -> str:
    """' (80% interval 1 to 3)'; empty without one, open above where no bound is known."""
    if price is None or price.low is None:
        return ""
    high = f"to {text(size * price.high)}" if price.high is not None else "and more"
    return f" ({priced.level:.0%} interval {text(size * price.low)} {high})"


def _unit(pool: float) -> tuple[float, str]:
    """An amount of text that is small beside a pool: 1e6, 'million '."""
    return next(((size, f"{name} ") for size, name in SIZES if size <= MAX_PART * pool), (1.0, ""))


def _tokens(count: float) -> str:
    """3100000 as '3.1 million', to two digits."""
    for size, name in SIZES:
        if abs(count) >= 0.995 * size:
            return f"{two_digits(count / size)} {name}"
    return two_digits(count)


def marginal_value_section(priced: ShadowPrices | None, repetition: RepetitionEvidence | None) -> Section | None:
    """Prices of unique text and of caps by domain; None for a recommendation that knows of none."""
    sentences, evidence = price_sentences(priced), repetition_text(repetition)
    if not sentences and not evidence:
        return None
    blocks: list[Block] = [Paragraph(sentences[0])] if sentences else []
    blocks += [Listing(sentences[1:])] if len(sentences) > 1 else []
    if priced and any(price and price.gain for row in priced.domains for price in (row.unique, row.cap)):
        blocks.append(price_table(priced))
    blocks += [Paragraph(evidence)] if evidence else []
    return Section("marginal-value", "Marginal value of text", blocks, "Marginal value of text")


def price_table(priced: ShadowPrices) -> Table:
    level = f"{100 * priced.level:.0f}% interval"
    rows = sorted(priced.domains, key=lambda row: (-_gain(row.unique) * _pool(row), row.domain))
    rows = [row for row in rows if row.unique or row.cap][:MAX_PRICED]
    fall = f"Loss reduction from {PRICED_PART:.0%} more"
    names = ("Domain", "Unique tokens", "Epochs", fall, level, "Value of one token", level, "Cap")
    headings = columns(*names, "Loss reduction from a cap 10% higher", strong=fall, text=["Cap"])
    cells = []
    for row in rows:
        size, cap = PRICED_PART * _pool(row), row.cap
        raised = (cap_text(cap), two_digits(0.1 * cap.at * (cap.gain or 0.0))) if cap else ("", "")
        cells.append(
            (
                row.domain,
                count_text(row.pool),
                epochs_text(row.epochs),
                *_price(row.unique, size),
                *_price(row.worth, 1.0),
                *raised,
            )
        )
    title = "Loss reduction of the full run from more unique text, nats/token at proxy scale"
    title += "; value of one unique token in training tokens" if any(row.worth for row in rows) else ""
    return Table(title, headings, cells, note=_price_note(priced)).without_empty_columns()


def _price(price: Price | None, size: float) -> tuple[str, str]:
    """A price of so much, and its interval; where even many training tokens aren't worth it, there is no number."""
    if not price:
        return UNKNOWN, UNKNOWN
    value = two_digits(size * price.gain) if known(price.gain) else "no number"
    if not known(price.low):
        return value, UNKNOWN
    if price.low == price.high == 0:
        return value, "0"
    high = f"to {two_digits(size * price.high)}" if known(price.high) else "and more"
    return value, f"{two_digits(size * price.low)} {high}"


def _price_note(priced: ShadowPrices) -> str:
    text = (
        "These are shadow prices: they hold for small changes, and the first additional tokens are worth most. They "
        "are differences in loss at proxy scale, where all losses are higher; what carries over to a larger model is "
        "how domains compare with each other and with training tokens. "
    )
    if priced.tokens:
        text += (
            f"The value of more training tokens is measured by {counted(priced.tokens.runs, 'run')} with half the "
            "tokens at the same mixture and epochs, minus the cost of repeating the same pools more often. "
        )
    return text + (f"Intervals: {priced.method}." if priced.folds else "")


def repetition_text(found: RepetitionEvidence | None) -> str:
    """Whether held-out runs were predicted better for seeing repetition; empty where nothing is known of it."""
    if found is None:
        return ""
    fitted = _r_star_text(found.r_star)
    if not (known(found.with_) and known(found.without)):
        return f"{found.why or 'Whether modelling repetition helps was not tested.'}{fitted}" if fitted else ""
    runs = counted(int(found.runs), "run") if known(found.runs) else "runs"
    text = (
        f"Does modelling repetition help? {runs} with other pools, held out, were predicted with an error of "
        f"{loss(found.with_, 4)} nats/token by {found.aware or 'the law of repetition'}, which models it, and of "
        f"{loss(found.without, 4)} by {found.plain or 'the law of shares'}, which sees shares alone: the "
    )
    return text + ("term lowered the error." if found.earned else "term did not clearly lower the error.") + fitted


def _r_star_text(found: RStarEvidence | None) -> str:
    """What the runs say of how long repeated text stays worth something, by validation set of the target."""
    rows = found.by_text if found else {}
    each = [_one_r_star(text if len(rows) > 1 else "", row) for text, row in rows.items() if known(row.value)]
    if not each or not found:
        return ""
    vague = all(row.identified is False for row in rows.values())
    return (
        f" Fitted R*, about the number of repeats after which text is worth little: "
        f"{listed(each[:MAX_R_STARS])}; {100 * found.level:.0f}% intervals, with a prior around the published "
        f"{two_digits(found.prior['centre'])}."
    ) + (" The runs add little to the prior." if vague else "")


def _one_r_star(text: str, row: RStar) -> str:
    low, high = (two_digits(end) if known(end) else "" for end in (row.low, row.high))
    span = f"{low} to {high}" if low and high else f"{low} and more" if low else f"up to {high}" if high else "open"
    return f"{two_digits(row.value or 0.0)}{f' for {text}' if text else ''} ({span})"
