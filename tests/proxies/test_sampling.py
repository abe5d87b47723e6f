import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.sampling import MixtureSampler, choose_domains, stacked_batches, validation_windows, visit_order

weights = st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda w: sum(w) > 0.01)


@given(weights, st.integers(1, 4000), st.integers(0, 2**31))
def test_domain_counts_follow_the_weights_to_within_a_few_sequences(raw, slots, seed):
    w = np.array(raw) / sum(raw)
    counts = np.bincount(choose_domains(w, slots, seed=seed), minlength=len(w))
    # Discrepancy of the golden-ratio sequence is below 2 log2(n) / n for every n here.
    assert np.abs(counts - slots * w).max() <= 2 * np.log2(slots + 2) + 1
    assert (counts[w == 0] == 0).all()


@given(st.integers(1, 50), st.integers(0, 300), st.integers(0, 5))
def test_every_epoch_visits_every_sequence_once(sequences, visits, seed):
    order = visit_order(sequences, visits, seed=seed, domain_key=7)
    counts = np.bincount(order, minlength=sequences)
    assert len(order) == visits
    assert counts.max(initial=0) - counts.min(initial=visits) <= 1


def numbered(n, base):
    return (base + np.arange(n)).astype(np.uint32)


def test_two_mixtures_of_one_seed_read_each_domain_in_the_same_order():
    pools = {"a": numbered(801, 0), "b": numbered(801, 10_000)}
    few, many = (MixtureSampler(pools, {"a": x, "b": 1 - x}, context=8, slots=60, seed=3) for x in (0.3, 0.7))
    read = [np.concatenate([s.batch(step, 4)[:, 0] for step in range(15)]) for s in (few, many)]
    starts = [slots[slots < 10_000] for slots in read]
    n = min(map(len, starts))
    assert n > 10
    assert (starts[0][:n] == starts[1][:n]).all()
    # And where the larger share chooses b, the smaller one does too: slots differ only by the weights.
    assert (read[0][read[1] >= 10_000] >= 10_000).all()


@pytest.mark.parametrize("names", [("b", "a"), ("b", "c"), ("z", "y")], ids="".join)
def test_other_names_of_domains_and_places_in_the_study_change_nothing(names):
    a, b = numbered(200, 0), numbered(300, 1000)
    one = MixtureSampler({"a": a, "b": b}, {"a": 0.4, "b": 0.6}, context=8, slots=40, seed=1)
    two = MixtureSampler(dict(zip(names, (b, a), strict=True)), dict(zip(names, (0.6, 0.4), strict=True)),
                         context=8, slots=40, seed=1)  # fmt: skip
    assert all((one.batch(step, 4) == two.batch(step, 4)).all() for step in range(10))


@given(st.integers(17, 400), st.floats(0.05, 0.95), st.integers(20, 400))
def test_epochs_are_tokens_times_weight_over_pool(pool, share, slots):
    pools = {"a": numbered(pool, 0), "b": numbered(5000, 1000)}
    sampler = MixtureSampler(pools, {"a": share, "b": 1 - share}, context=8, slots=slots, seed=0)
    expected = slots * share / ((pool - 1) // 8)
    slack = (2 * np.log2(slots + 2) + 1) / ((pool - 1) // 8)
    assert sampler.epochs["a"] == pytest.approx(expected, abs=slack)


def test_batches_hold_consecutive_tokens_of_one_pool():
    pools = {"a": numbered(100, 0), "b": numbered(100, 1000)}
    samplers = [MixtureSampler(pools, {"a": 0.5, "b": 0.5}, context=8, slots=12, seed=s) for s in (0, 1)]
    for batch in stacked_batches(samplers, steps=3, size=4):
        assert batch.shape == (2, 4, 9) and batch.dtype == np.int64
        assert (np.diff(batch, axis=-1) == 1).all()


def test_a_pool_shorter_than_one_sequence_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'tiny'.*train proxies on more tokens"):
        MixtureSampler({"tiny": numbered(8, 0), "b": numbered(99, 0)}, {"tiny": 0.5, "b": 0.5},
                       context=8, slots=10, seed=0)  # fmt: skip


def test_a_domain_without_weight_needs_no_pool():
    pools = {"b": numbered(99, 7), "none": numbered(0, 0)}
    sampler = MixtureSampler(pools, {"none": 0.0, "b": 1.0}, context=8, slots=10, seed=0)
    assert (sampler.batch(0, 10) >= 7).all() and sampler.epochs["none"] == 0


@given(st.integers(9, 2000), st.integers(1, 60))
def test_validation_windows_spread_over_the_text_without_overlap(tokens, count):
    windows = validation_windows(numbered(tokens, 0), context=8, count=count)
    assert len(windows) == min(count, tokens // 9)
    assert len(np.unique(windows)) == windows.size
    if len(windows) > 1:
        assert windows[0, 0] == 0 and windows[-1, 0] == (tokens // 9 - 1) * 9


def test_a_validation_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="shorter than one window"):
        validation_windows(numbered(8, 0), context=8, count=3)
