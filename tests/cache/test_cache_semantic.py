import numpy as np
import pytest

from ragopt.cache import ContentWords, FlatVectors, Scope, SemanticCache
from ragopt.errors import InputError


@pytest.fixture(params=["memory", "file"])
def cache(request, tmp_path, clock, embedder):
    path = tmp_path / "cache.db" if request.param == "file" else None
    with SemanticCache(embedder, path=path, clock=clock) as opened:
        yield opened


def test_three_lines(embedder):
    cache = SemanticCache(embedder, threshold=0.95)
    cache.put("How do I rotate a key?", "Use rotate().")
    assert cache.get("How can I rotate the key").answer == "Use rotate()."


def test_the_exact_tier_comes_first_and_asks_no_embedder(cache, embedder):
    cache.put("How do I rotate a key?", "Use rotate().")
    asked = embedder.asked
    hit = cache.get("how do I rotate a key")
    assert (hit.tier, hit.similarity) == ("exact", 1.0)
    assert embedder.asked == asked


def test_a_reworded_question_hits_the_semantic_tier(cache, clock):
    entry = cache.put("How do I rotate a key?", "Use rotate().", payload={"n": 1})
    clock.now += 3
    hit = cache.get("to rotate the key: how do I")
    assert (hit.tier, hit.entry_id, hit.question) == ("semantic", entry, "How do I rotate a key?")
    assert hit.similarity == pytest.approx(1.0)
    assert hit.similarity <= 1.0
    assert (hit.age_s, dict(hit.payload)) == (3.0, {"n": 1})
    assert cache.stats.semantic_hits == 1


TRAPS = [
    ("convert celsius to fahrenheit", "convert fahrenheit to celsius", "reversal"),
    ("Does Ann know Bob well?", "Does Bob know Ann well?", "reversal"),
    ("How do I open a file with buffering?", "How do I open a file without buffering?", None),
    ("What is `List` for?", "What is `list` for?", "entities"),
    ("Why do deer make sounds?", "How do deer make sounds?", None),
]


@pytest.mark.parametrize(("cached", "asked", "guard"), TRAPS)
def test_traps_at_cosine_one_are_not_served(cache, cached, asked, guard):
    cache.put(cached, "a")
    assert cache.get(asked) is None
    if guard:
        assert dict(cache.stats.refused) == {guard: 1}


def test_without_guards_the_same_traps_are_served(embedder):
    cache = SemanticCache(embedder, guards=())
    cache.put("convert celsius to fahrenheit", "a")
    assert cache.get("convert fahrenheit to celsius").answer == "a"


def test_after_a_refusal_the_next_candidate_is_tried(cache):
    cache.put("convert fahrenheit to celsius", "wrong")
    cache.put("convert celsius to fahrenheit", "right")
    cache.put("from fahrenheit convert to celsius", "wrong too")
    assert cache.get("how do I convert celsius to fahrenheit").answer == "right"


def test_five_candidates_are_tried(embedder):
    class Refusing:
        name = "refusing"

        def __init__(self):
            self.seen = []

        def agrees(self, asked, cached):
            self.seen.append(cached)
            return False

    guard = Refusing()
    cache = SemanticCache(embedder, guards=(guard,))
    for number in range(8):
        cache.put("rotate key" + " ?" * number + " !" * number, "a")
    assert cache.get("key rotate") is None
    assert len(guard.seen) == min(5, len(cache))
    assert cache.stats.refused["refusing"] == len(guard.seen)


@pytest.mark.parametrize(("threshold", "served"), [(0.8, True), (0.81, False), (1.0, False)])
def test_the_threshold_is_part_of_what_is_served(embedder, threshold, served):
    cache = SemanticCache(embedder, threshold=threshold, guards=())
    first, second = np.zeros((2, embedder.dim), dtype=np.float32)
    first[0] = 1
    second[:2] = 0.8, 0.6
    cache.put("one", "a", vector=first)
    assert (cache.get("two", vector=second) is not None) == served


def test_the_very_same_vector_meets_a_threshold_of_one(embedder):
    cache = SemanticCache(embedder, threshold=1.0, guards=())
    for number in range(50):
        row = np.random.default_rng(number).standard_normal(embedder.dim)
        cache.put(f"q{number}", str(number), vector=row)
        assert cache.get(f"x{number}", vector=3 * row).answer == str(number)


def test_a_given_vector_saves_the_embedding(cache, embedder):
    vector = embedder.embed(["rotate key"])[0]
    asked = embedder.asked
    cache.put("rotate the key", "a", vector=vector)
    assert cache.get("rotate a key", vector=vector).answer == "a"
    assert embedder.asked == asked


def test_an_empty_scope_asks_no_embedder(cache, embedder):
    assert cache.get("anything") is None
    assert embedder.asked == 0


def test_another_scope_is_never_searched(cache):
    cache.put("rotate the key", "for acme", scope=Scope(tenant="acme"))
    assert cache.get("rotate a key", scope=Scope(tenant="other")) is None
    assert cache.get("rotate a key") is None
    assert cache.get("rotate a key", scope=Scope(tenant="acme")).answer == "for acme"


def test_another_embedder_reads_nothing_of_the_first(tmp_path, make_embedder):
    path = tmp_path / "cache.db"
    with SemanticCache(make_embedder(name="one"), path=path) as cache:
        cache.put("rotate the key", "a")
    for other in (make_embedder(name="two"), make_embedder(name="one", dim=256)):
        with SemanticCache(other, path=path) as cache:
            assert cache.get("rotate a key") is None
            assert cache.get("rotate the key") is None
            assert cache.stats.corrupt == 0
    with SemanticCache(make_embedder(name="one"), path=path) as cache:
        assert cache.get("rotate a key").answer == "a"


def test_a_scope_may_name_the_embedder_it_is_for(cache, embedder):
    cache.put("rotate the key", "a", scope=Scope(embedder_id=embedder.id))
    assert cache.get("rotate a key").answer == "a"
    with pytest.raises(InputError, match="embedder"):
        cache.get("rotate a key", scope=Scope(embedder_id="another"))


def test_a_question_without_known_words_is_served_by_its_text_only(cache):
    cache.put("what is it", "a")  # every word is a stop word here: its vector is zero
    cache.put("rotate the key", "b")
    assert cache.get("What is it?").answer == "a"
    assert cache.get("it is what") is None


def test_tiers_can_be_turned_off(embedder):
    exact = SemanticCache(embedder, semantic=False)
    exact.put("rotate the key", "a")
    assert exact.get("rotate the key?").tier == "exact"
    assert exact.get("rotate a key") is None
    assert embedder.asked == 0
    semantic = SemanticCache(embedder, exact=False)
    semantic.put("rotate the key", "a")
    assert semantic.get("rotate the key").tier == "semantic"


def test_expired_entries_are_not_served_and_make_way_for_the_next(cache, clock):
    cache.put("for the key, rotate", "living", ttl_s=1000)
    for number in range(7):
        cache.put("rotate the key" + " the" * number, "dead", ttl_s=10)
    clock.now += 20
    assert cache.get("rotate a key").answer == "living"
    assert cache.stats.expired == 7
    cache.put("another matter", "b")
    assert len(cache) == 2


def test_removed_entries_are_not_served(cache):
    entry = cache.put("rotate the key", "a", sources=["doc"])
    cache.put("close the window", "b", sources=["doc2"])
    assert cache.get("rotate a key").entry_id == entry
    cache.purge(source="doc")
    assert cache.get("rotate a key") is None
    assert cache.get("close a window").answer == "b"
    cache.purge()
    assert cache.get("close a window") is None


def test_many_removed_entries_leave_memory(embedder):
    made = []

    def make(dim):
        made.append(FlatVectors(dim))
        return made[-1]

    cache = SemanticCache(embedder, max_entries=20, vector_store=make)
    for number in range(200):
        cache.put(f"rotate key{number}", "a")
        cache.get(f"turn key{number}")
    assert len(made) == 1
    assert len(made[0]) <= 30


def test_putting_again_forgets_the_old_vector(cache):
    cache.put("rotate the key", "old")
    cache.get("rotate a key")
    cache.put("rotate the key", "new")
    assert cache.get("rotate a key").answer == "new"
    assert len(cache) == 1


def test_what_one_cache_puts_another_on_the_file_sees(tmp_path, make_embedder):
    path = tmp_path / "cache.db"
    with (
        SemanticCache(make_embedder(), path=path) as one,
        SemanticCache(make_embedder(), path=path) as two,
    ):
        assert two.get("rotate a key") is None
        entry = one.put("rotate the key", "a")
        assert two.get("rotate a key").entry_id == entry
        two.put("close the window", "b")
        assert one.get("close a window").answer == "b"
        assert one.get("rotate a key").answer == "a"
        two.revoke(entry)
        assert one.get("rotate a key") is None
        assert one.get("rotate the key") is None
        two.purge()
        assert one.get("close a window") is None
        two.put("rotate the key", "c")
        assert one.get("rotate a key").answer == "c"


@pytest.mark.parametrize(
    "vector",
    [
        np.full(512, np.nan),
        np.r_[np.inf, np.zeros(511)],
        np.ones(511),
        np.ones((1, 512)),
        np.float32(1),
        ["a"] * 512,
        np.ones(512, dtype=complex),
        [[1], [1, 2]],
    ],
)
def test_unusable_vectors_change_nothing(cache, vector):
    with pytest.raises(InputError):
        cache.put("q", "a", vector=vector)
    with pytest.raises(InputError):
        cache.get("q", vector=vector)
    assert len(cache) == 0


def test_vectors_of_any_size_are_scaled(cache):
    for size in (1e-300, 1e-30, 1.0, 1e30, 1e300):
        row = np.zeros(512)
        row[:2] = size, size
        cache.put(f"q {size}", "a", vector=row)
        assert cache.get("q", vector=row) is None  # guards refuse, nothing warns
    assert cache.stats.misses == 5


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan"), "0.9", [0.9], True])
def test_unusable_thresholds_are_refused(embedder, threshold):
    if threshold is True:
        with pytest.raises(InputError):
            SemanticCache(embedder, threshold=threshold)
        return
    with pytest.raises(InputError, match="threshold"):
        SemanticCache(embedder, threshold=threshold)


def test_unusable_options_are_refused(embedder, make_embedder):
    with pytest.raises(InputError, match="enable one"):
        SemanticCache(embedder, exact=False, semantic=False)
    with pytest.raises(InputError, match="guards"):
        SemanticCache(embedder, guards=["numbers"])
    with pytest.raises(InputError, match="guards"):
        SemanticCache(embedder, guards=[ContentWords])
    with pytest.raises(InputError, match="embedder"):
        SemanticCache(lambda texts: texts)
    with pytest.raises(InputError, match="dim"):
        SemanticCache(make_embedder(dim=0))


def test_an_embedder_that_fails_is_counted_and_heard(cache, embedder, monkeypatch):
    cache.put("rotate the key", "a")

    def fail(texts):
        raise ConnectionError("no model")

    monkeypatch.setattr(embedder, "embed", fail)
    with pytest.raises(ConnectionError):
        cache.get("rotate a key")
    with pytest.raises(ConnectionError):
        cache.put("other", "a")
    assert cache.get("rotate the key").answer == "a"
    stats = cache.stats
    assert (stats.errors, stats.lookups, len(cache)) == (1, 2, 1)
    assert stats.lookups == stats.hits + stats.misses + stats.errors


@pytest.mark.parametrize(
    "returned", [np.full((1, 512), np.nan), np.ones((2, 512)), np.ones((1, 3)), np.ones(512)]
)
def test_an_embedder_that_returns_nonsense_is_refused(cache, embedder, monkeypatch, returned):
    cache.put("rotate the key", "a")
    monkeypatch.setattr(embedder, "embed", lambda texts: returned)
    with pytest.raises(InputError):
        cache.get("rotate a key")
    with pytest.raises(InputError):
        cache.put("close the window", "b")
    assert len(cache) == 1


def test_it_shows_its_threshold(embedder):
    assert repr(SemanticCache(embedder)) == "SemanticCache(':memory:', 0 entries, threshold=0.95)"


def test_a_store_that_keeps_what_was_removed_ends_the_look_up(embedder):
    class Forgetful(FlatVectors):
        def remove(self, ids):
            list(ids)

    cache = SemanticCache(embedder, vector_store=Forgetful)
    entry = cache.put("rotate the key", "a")
    cache.get("rotate a key")
    cache.revoke(entry)
    assert cache.get("rotate a key") is None
