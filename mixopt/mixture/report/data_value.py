"""What more unique text is worth, and whether the runs bore out what is said of repetition."""

from collections.abc import Mapping
from typing import Any

from mixopt.formatting import UNKNOWN, amount, counted, digits, known, listed, loss, passes
from mixopt.mixture.report.inputs import Study
from mixopt.mixture.summary import told_worth
from mixopt.report.html import Column, Safe, paragraph, section, table, tag

PART = 0.1  # of a pool: what the table prices
LISTED = 40  # domains in the table
MOST = 8  # texts whose R* is told


def worth(study: Study) -> Safe:
    """Prices of unique text and of caps by domain; empty for a recommendation that knows of none."""
    priced = study.part("shadow_prices")
    told = told_worth(study.recommendation)
    term = repetition_term(study.selection.get("repetition"))
    if not told and not term:
        return Safe("")
    parts = [paragraph(sentence) for sentence in told[:1]]
    parts += [tag("ul", *(tag("li", sentence) for sentence in told[1:]))] if len(told) > 1 else []
    if any(_counts(row) for row in priced.get("domains") or []):
        parts += [_table(priced), paragraph(_meaning(priced), class_="note")]
    return section("worth", "What more text is worth", *parts, *([paragraph(term)] if term else []))


def _counts(row: Mapping[str, Any]) -> bool:
    prices = [row.get("unique") or {}, row.get("cap") or {}]
    return any(known(price.get("gain")) and price["gain"] != 0 for price in prices)


def _table(priced: Mapping[str, Any]) -> Safe:
    level = f"{100 * priced['level']:.0f}% interval"
    rows = sorted(priced["domains"], key=lambda row: (-_part_gain(row), row["domain"]))
    rows = [row for row in rows if row["unique"] or row["cap"]][:LISTED]
    in_tokens = any(row["worth"] for row in rows)
    capped = any(row["cap"] for row in rows)
    columns = [Column("Domain", numeric=False), Column("Unique tokens"), Column("Epochs")]
    columns += [Column(f"Fall with {PART:.0%} more"), Column(level)]
    columns += [Column("One token's worth"), Column(level)] if in_tokens else []
    columns += [Column("Cap", numeric=False), Column("Fall with a cap 10% higher")] if capped else []
    body = []
    for row in rows:
        size = PART * row["pool"] if known(row["pool"]) else 0.0
        cells = [str(row["domain"]), amount(row["pool"]), passes(row["epochs"])]
        cells += [*_cells(row["unique"], size)]
        cells += [*_cells(row["worth"], 1.0)] if in_tokens else []
        cells += [*_cap_cells(row["cap"])] if capped else []
        body.append(cells)
    caption = "What more unique text takes off the loss of the full run, nats/token at proxy scale"
    caption += "; worth of one unique token in training tokens" if in_tokens else ""
    return table(caption, columns, body)


def _part_gain(row: Mapping[str, Any]) -> float:
    return row["unique"]["gain"] * row["pool"] if row["unique"] and known(row["pool"]) else 0.0


def _cells(price: Mapping[str, Any] | None, size: float) -> tuple[str, str]:
    """A price of so much, and its interval; where even many training tokens aren't worth it, there is no number."""
    if not price:
        return UNKNOWN, UNKNOWN
    value = digits(size * price["gain"]) if known(price["gain"]) else "no number"
    if not known(price["low"]):
        return value, UNKNOWN
    if price["low"] == price["high"] == 0:
        return value, "0"
    high = f"to {digits(size * price['high'])}" if known(price["high"]) else "and more"
    return value, f"{digits(size * price['low'])} {high}"


def _cap_cells(cap: Mapping[str, Any] | None) -> tuple[str, str]:
    if not cap:
        return "", ""
    epochs = cap["setting"] == "max_epochs"
    told = f"{cap['at']:.3g} epochs" if epochs else f"{cap['at']:.1%} of the tokens"
    return told, digits(0.1 * cap["at"] * cap["gain"])


def _meaning(priced: Mapping[str, Any]) -> str:
    told = (
        "Prices hold for small changes of what the full run has: the first tokens more are worth most. They are "
        "differences of loss at the proxies' scale, where all of the loss is higher; what carries over to a larger "
        "model is how domains and training tokens compare. "
    )
    longer = priced.get("tokens")
    if longer:
        told += (
            "What more training tokens are worth is measured by "
            f"{counted(longer['runs'], 'run')} of half the tokens at the same mixture and epochs, less what the same "
            "pools cost as they are repeated more. "
        )
    if priced.get("folds"):
        told += f"Intervals: {priced['method']}."
    return told.strip()


def repetition_term(found: Any) -> str:
    """Whether held-out runs were predicted better for seeing repetition; empty where nothing is known of it."""
    if not isinstance(found, Mapping):
        return ""
    told = _r_star(found.get("r_star"))
    if not (known(found.get("with")) and known(found.get("without"))):
        return f"{found.get('why') or 'Whether it pays to see repetition was not judged.'}{told}" if told else ""
    runs = counted(int(found["runs"]), "run") if known(found.get("runs")) else "runs"
    aware, plain = found.get("aware") or "the law that sees it", found.get("plain") or "the one that sees shares alone"
    ours = (
        f"Does it pay to see repetition? Held out, {runs} from other pools were predicted with an error of "
        f"{loss(found['with'], 4)} nats/token by {aware}, which sees it, and of {loss(found['without'], 4)} by "
        f"{plain}, which sees shares alone"
    )
    ours += ": the term earned its place." if found.get("earned") else ": the term did not clearly earn its place."
    return ours + told


def _r_star(found: Any) -> str:
    """What the runs say of how long repeated text stays worth something, by text of the target."""
    rows = (found or {}).get("by_text") or {}
    told = [_one_r_star(text if len(rows) > 1 else "", row) for text, row in rows.items() if known(row.get("value"))]
    if not told:
        return ""
    vague = all(row.get("identified") is False for row in rows.values())
    prior = f"a prior around {digits(found['prior']['centre'])}, which is published"
    return (
        f" Fitted R*, about how many more passes repeated text stays worth something: {listed(told[:MOST])}; "
        f"{100 * found['level']:.0f}% intervals, with {prior}."
    ) + (" The runs add little to the prior." if vague else "")


def _one_r_star(text: str, row: Mapping[str, Any]) -> str:
    low, high = (digits(row[end]) if known(row.get(end)) else "" for end in ("low", "high"))
    span = f"{low} to {high}" if low and high else f"{low} and more" if low else f"up to {high}" if high else "open"
    return f"{digits(row['value'])}{f' for {text}' if text else ''} ({span})"
