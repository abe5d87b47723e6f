"""Facts about the search for the best mixture, on losses whose best mixture is known."""

import gc
import time
import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from mixopt.errors import MixoptError
from mixopt.search.local import polish
from mixopt.search.optimize import SAMPLERS, UNUSABLE, WIDE, search, usable
from mixopt.search.simplex import feasible
from mixopt.serialization import replacing

DOMAINS = ("books", "code", "news", "talk", "web")
BEST = np.array([0.1, 0.0, 0.25, 0.05, 0.6])


def bowl(W):
    """2 nats/token at BEST, more elsewhere."""
    return 2.0 + ((W - BEST) ** 2).sum(axis=1)


def bowl_slopes(W):
    return 2.0 * (W - BEST)


def steps(W):
    """The bowl as a tree sees it: flat on cells of .1."""
    return bowl(np.round(W, 1))


@pytest.mark.parametrize("slopes", [bowl_slopes, None], ids=["gradient", "no gradient"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_and_polish_finds_the_best_mixture_of_a_bowl(sampler, slopes):
    found = search(bowl, slopes, feasible(DOMAINS), sampler=sampler, trials=25, seed=1)
    np.testing.assert_allclose(found.weights, BEST, atol=2e-4)  # twice the smallest move of a polish without gradient
    assert found.polished == pytest.approx(2.0, abs=1e-6)
    assert found.polish_gain == pytest.approx(found.found - 2.0, abs=1e-6)
    assert found.trials == 25
    assert found.agreeing_starts == found.starts


def test_cma_es_alone_comes_close_to_the_best_mixture():
    found = search(bowl, bowl_slopes, feasible(DOMAINS), trials=400)
    random = search(bowl, bowl_slopes, feasible(DOMAINS), trials=400, sampler="random")
    assert found.found < 2.0 + 1e-4  # within .01 of every weight
    assert found.found < random.found


@pytest.mark.parametrize("sampler", ["cma-es", "tpe"])
def test_equal_seeds_give_equal_answers_and_other_seeds_other_trials(sampler):
    def run(seed):
        return search(steps, None, feasible(DOMAINS), sampler=sampler, trials=60, seed=seed)

    one, again, other = run(5), run(5), run(6)
    assert one.weights.tolist() == again.weights.tolist()
    assert (one.found, one.polished) == (again.found, again.polished)
    assert one.weights.tolist() != other.weights.tolist()


def test_the_answer_keeps_the_limits_that_matter():
    space = feasible(DOMAINS, min_weight={"code": 0.05}, max_weight={"web": 0.4}, fixed={"talk": 0.2})
    found = search(bowl, bowl_slopes, space, trials=100)
    assert space.contains(found.weights)
    # Projecting onto the limits is exact, so it says where the bowl's lowest feasible point is.
    np.testing.assert_allclose(found.weights, space.project(BEST), atol=1e-4)


def test_a_seed_that_is_best_already_is_never_lost():
    found = search(bowl, None, feasible(DOMAINS), trials=20, seeds=[BEST], sampler="random")
    assert found.found == 2.0
    assert found.polish_gain == 0.0
    assert found.weights.tolist() == BEST.tolist()


def test_a_seed_outside_the_limits_stands_for_the_nearest_feasible_mixture():
    space = feasible(DOMAINS, max_weight=0.5)
    found = search(bowl, None, space, trials=20, seeds=[BEST], sampler="random")
    assert found.found == pytest.approx(bowl(space.project(BEST)[None])[0])


def test_trials_are_no_more_than_asked_for():
    found = search(bowl, None, feasible(DOMAINS), trials=3, seeds=[BEST, np.full(5, 0.2)])
    assert (found.trials, found.seeded) == (3, 3)
    assert search(bowl, None, feasible(DOMAINS), trials=9).trials == 9


@pytest.mark.parametrize("limits", [{"fixed": {"a": 0.3}}, {"min_weight": {"a": 0.3, "b": 0.7}}])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_feasible_mixture_is_the_answer(sampler, limits):
    space = feasible(("a", "b"), **limits)
    found = search(lambda W: W[:, 0], None, space, trials=20, sampler=sampler)
    np.testing.assert_allclose(found.weights, [0.3, 0.7])
    assert (found.starts, found.agreeing_starts) == (1, 1)


def test_two_domains_can_be_searched():
    found = search(lambda W: (W[:, 0] - 0.3) ** 2, None, feasible(("a", "b")), trials=60)
    np.testing.assert_allclose(found.weights, [0.3, 0.7], atol=1e-3)


def test_starts_that_end_apart_are_counted_as_disagreeing():
    # Two valleys of equal depth, at all books and at all web.
    def valleys(W):
        return 3.0 - np.maximum(W[:, 0], W[:, 4])

    found = search(valleys, None, feasible(DOMAINS), trials=200, sampler="random")
    assert found.polished == pytest.approx(2.0, abs=1e-6)
    assert 1 <= found.agreeing_starts < found.starts


def test_mixtures_without_a_finite_prediction_are_avoided():
    found = search(lambda W: np.where(W[:, 1] > 0.2, np.nan, 3.0 - W[:, 1]), None, feasible(DOMAINS), trials=200)
    assert found.polished == pytest.approx(2.8, abs=1e-3)
    assert usable(np.array([np.nan, np.inf, -np.inf, 1.0])).tolist() == [UNUSABLE, UNUSABLE, UNUSABLE, 1.0]


def test_a_predictor_without_any_finite_prediction_is_refused():
    with pytest.raises(MixoptError, match="no finite loss"):
        search(lambda W: np.full(len(W), np.nan), None, feasible(DOMAINS))


def test_an_unknown_sampler_is_refused_by_name():
    with pytest.raises(MixoptError, match=r"'nsga'.*cma-es, gp, tpe, random"):
        search(bowl, None, feasible(DOMAINS), sampler="nsga")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_a_polish_never_raises_the_loss_and_stays_feasible(seed, exact, flat):
    rng = np.random.default_rng(seed)
    space = feasible(DOMAINS, max_weight=float(rng.uniform(0.3, 1.0)))
    start = space.sample(1, rng=rng, steps=20)[0]
    objective = steps if flat else bowl
    done = polish(objective, bowl_slopes if exact else None, space, start=start)
    assert space.contains(done.weights)
    assert done.loss == objective(done.weights[None])[0]
    assert done.loss <= objective(start[None])[0]


def test_a_polish_of_a_constant_gains_nothing_and_says_so():
    start = np.full(5, 0.2)
    done = polish(lambda W: np.full(len(W), 3.0), None, feasible(DOMAINS), start=start)
    assert (done.loss, done.weights.tolist()) == (3.0, start.tolist())


# The stored study


def sqlite(path):
    return f"sqlite:///{path}"


def load(storage, name="mixopt"):
    """The study that another process would find."""
    if isinstance(storage, str):
        return optuna.load_study(study_name=name, storage=storage)
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(storage))))


@pytest.fixture(params=["journal", "sqlite"])
def storage(request, tmp_path):
    return tmp_path / "study" / "search.journal" if request.param == "journal" else sqlite(tmp_path / "search.db")


@pytest.fixture(autouse=True)
def closed():
    """Connections that Optuna leaves to the garbage collector, closed while their warnings can be told apart."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_the_stored_study_holds_every_trial_with_its_mixture(storage):
    found = search(bowl, None, feasible(DOMAINS, fixed={"talk": 0.1}), trials=30, storage=storage)
    stored = load(storage)
    assert [trial.number for trial in stored.trials] == list(range(30))
    assert stored.best_value == found.found
    for trial in stored.trials:
        w = np.array([trial.user_attrs[name] for name in DOMAINS])
        assert trial.value == bowl(w[None])[0]
        assert trial.user_attrs["talk"] == pytest.approx(0.1)
        assert set(trial.params) == {f"share of {name}" for name in DOMAINS if name != "talk"}
        assert trial.datetime_start and trial.datetime_complete
        assert trial.datetime_start <= trial.datetime_complete
        assert trial.system_attrs == {}  # the sampler's state would be most of the file
    assert len({trial.datetime_start for trial in stored.trials}) > 15


def test_storing_a_study_does_not_change_the_search(storage):
    alone, kept = (search(bowl, None, feasible(DOMAINS), trials=40, storage=where, seed=3) for where in (None, storage))
    assert kept.weights.tolist() == alone.weights.tolist()
    assert (kept.found, kept.polished) == (alone.found, alone.polished)


def test_searching_again_replaces_the_stored_study_and_leaves_others_alone(storage):
    for _ in range(2):
        search(bowl, None, feasible(DOMAINS), trials=20, storage=storage, seed=3)
    once = [(trial.value, trial.params) for trial in load(storage).trials]
    search(bowl, None, feasible(DOMAINS), trials=20, storage=storage, seed=3)
    assert [(trial.value, trial.params) for trial in load(storage).trials] == once
    assert len(once) == 20
    if isinstance(storage, str):  # a database may be shared
        search(bowl, None, feasible(DOMAINS), trials=5, storage=storage, study_name="another")
        assert (len(load(storage).trials), len(load(storage, "another").trials)) == (20, 5)


def test_what_a_killed_search_left_behind_is_written_over(tmp_path):
    path = tmp_path / "search.journal"
    search(bowl, None, feasible(DOMAINS), trials=20, storage=path)
    whole = path.read_bytes()
    with replacing(path) as half:
        half.write_bytes(whole[:1000])
    assert path.read_bytes() == whole[:1000]
    search(bowl, None, feasible(DOMAINS), trials=20, storage=path)
    assert len(load(path).trials) == 20
    assert [one.name for one in tmp_path.iterdir()] == ["search.journal"]


def test_what_is_left_for_later_is_written_when_it_is_asked_for(tmp_path):
    later = []
    search(bowl, None, feasible(DOMAINS), trials=20, storage=tmp_path / "search.journal", later=later)
    assert list(tmp_path.iterdir()) == []
    (save,) = later
    save()
    assert len(load(tmp_path / "search.journal").trials) == 20


def test_a_search_that_fails_leaves_the_old_journal(tmp_path, monkeypatch):
    path = tmp_path / "search.journal"
    search(bowl, None, feasible(DOMAINS), trials=20, storage=path)
    whole = path.read_bytes()
    monkeypatch.setattr(JournalFileBackend, "append_logs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search(bowl, None, feasible(DOMAINS), trials=30, storage=path)
    assert path.read_bytes() == whole
    assert [one.name for one in tmp_path.iterdir()] == ["search.journal"]


@pytest.mark.parametrize(
    "url",
    ["nothing", "nothing://host/name", "sqlite:////no/such/folder/search.db", "postgresql://me:secret@localhost:1/x"],
)
def test_a_url_without_a_database_is_refused_in_one_line_before_the_search(url):
    asked = []
    with pytest.raises(
        MixoptError, match=r"^search\.storage: no study can be kept at '[^\n]*: give a database URL"
    ) as refused:
        search(lambda W: asked.append(W) or bowl(W), None, feasible(DOMAINS), storage=url)
    assert not asked
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.slow
def test_a_thousand_trials_of_seventeen_domains_are_searched_in_seconds_and_written_at_once(tmp_path, monkeypatch):
    best = np.random.default_rng(0).dirichlet(np.ones(17))
    writes, append = [], JournalFileBackend.append_logs
    monkeypatch.setattr(JournalFileBackend, "append_logs", lambda self, logs: append(self, logs) or writes.append(logs))
    started = time.process_time()
    search(
        lambda W: 2.0 + ((W - best) ** 2).sum(axis=1),
        lambda W: 2.0 * (W - best),
        feasible([f"d{i}" for i in range(17)]),
        trials=1000,
        storage=tmp_path / "search.journal",
    )
    assert time.process_time() - started < 20  # takes 3 s alone
    assert len(writes) == 1  # each waits for the disk


def test_a_search_leaves_optunas_logging_as_it_was(capfd):
    before = optuna.logging.get_verbosity()
    search(bowl, None, feasible(DOMAINS), trials=30)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_a_domain_that_only_harms_gets_exactly_nothing():
    allowed = feasible(("a", "b", "c"))

    def harm(W):
        return 3.0 + (W[:, 0] - 0.6) ** 2 + 2.0 * W[:, 2]

    def slope(W):
        return np.stack([2 * (W[:, 0] - 0.6), np.zeros(len(W)), np.full(len(W), 2.0)], axis=1)

    found = search(harm, slope, allowed, trials=60, seed=0)
    assert found.weights[2] == 0.0
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_more_domains_than_a_covariance_is_good_for_are_searched_as_well(tmp_path):
    wide = feasible([f"d{i}" for i in range(WIDE + 20)])
    aim = np.random.default_rng(0).dirichlet(np.ones(WIDE + 20))

    def objective(mixtures):
        return 2 + ((mixtures - aim) ** 2).sum(axis=1)

    found = search(objective, lambda w: 2 * (w - aim), wide, trials=200, storage=tmp_path / "search.journal")
    again = search(objective, lambda w: 2 * (w - aim), wide, trials=200)
    assert found.trials == 200 and found.polished == pytest.approx(2, abs=1e-6) and found.found > found.polished
    assert np.array_equal(found.weights, again.weights)
    assert (tmp_path / "search.journal").stat().st_size > 0
