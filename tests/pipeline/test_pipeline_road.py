"""The plain road: answers, stages, tokens, dollars, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ragopt.cache import ExactCache
from ragopt.compress import Extractive, ExtractiveOptions
from ragopt.cost.ledger import Ledger
from ragopt.cost.model_prices import Usage
from ragopt.errors import InputError, ProviderError, UnknownPrice
from ragopt.llm import ExtractiveAnswerer, Message
from ragopt.pipeline import Billing, Pipeline, Source

QUESTION = "How do I rotate an API key?"


def test_the_answer_quotes_the_corpus_and_names_its_places(corpus, documents) -> None:
    pipeline = Pipeline(corpus.retriever(k=3, candidates=8), ExtractiveAnswerer(1))
    answer = pipeline.ask(QUESTION)
    assert answer.text == "To rotate an API key, open the settings page and press Rotate."
    assert str(answer) == answer.text
    assert answer.sources[0] == Source("api keys#0", "api keys", "API keys", 0)
    assert len(answer.sources) == 3
    texts = {document.id: document.text for document in documents}
    for source, part in zip(answer.sources, answer.context.chunks, strict=True):
        found = texts[source.document][source.start : source.start + len(part.text)]
        assert found == part.text
    assert (answer.served_from, answer.cached_question) == ("llm", None)
    assert (answer.cost, answer.saved) == (0, 0)
    assert not pipeline.failures


def test_without_options_only_the_needed_stages_run(corpus) -> None:
    answer = Pipeline(corpus.retriever(k=3, candidates=8), ExtractiveAnswerer()).ask(QUESTION)
    assert [stage.name for stage in answer.stages] == ["embed", "search", "rerank", "cut", "llm"]


def test_every_stage_is_reported_once_with_its_figures(corpus, words, model, tmp_path) -> None:
    with ExactCache() as cache, Ledger(tmp_path / "ledger.sqlite") as ledger:
        pipeline = Pipeline(
            corpus.retriever(k=3, candidates=8),
            model,
            compressor=Extractive(ExtractiveOptions(keep_ratio=0.5), count=words.count),
            cache=cache,
            billing=Billing(ledger=ledger, counter=words),
        )
        answer = pipeline.ask(QUESTION)
    stages = {stage.name: stage for stage in answer.stages}
    assert [stage.name for stage in answer.stages] == [
        *("cache", "embed", "search", "rerank", "cut", "compress", "llm", "remember", "ledger")
    ]
    assert not any(stage.failed for stage in answer.stages)
    assert all(stage.ms >= 0 for stage in answer.stages)
    assert answer.ms == sum(stage.ms for stage in answer.stages) > 0
    assert stages["cache"].note == "miss"
    assert stages["search"].note == "8 candidates"
    assert stages["search"].pages_read > 0
    assert stages["search"].bytes_read == 4096 * stages["search"].pages_read
    assert stages["rerank"].note == "8 scored"
    assert stages["cut"].note == "3 of 8 kept"
    assert stages["llm"].note == "parrot"
    compress = stages["compress"]
    assert compress.tokens_before == answer.context.tokens_before
    assert compress.tokens_after == answer.context.tokens_after < compress.tokens_before


def test_a_compressor_that_has_nothing_to_do_says_so(corpus, words, model) -> None:
    pipeline = Pipeline(
        corpus.retriever(k=1, candidates=8),
        model,
        compressor=Extractive(count=words.count),
        max_context_tokens=10_000,
        billing=Billing(counter=words),
    )
    stages = {stage.name: stage for stage in pipeline.ask(QUESTION).stages}
    assert "within the budget" in stages["compress"].note
    assert stages["compress"].tokens_before == stages["compress"].tokens_after > 0


def test_the_budget_reaches_the_compressor(corpus, words, model) -> None:
    pipeline = Pipeline(
        corpus.retriever(k=3, candidates=8),
        model,
        compressor=Extractive(count=words.count),
        max_context_tokens=20,
        billing=Billing(counter=words),
    )
    assert pipeline.ask(QUESTION).context.tokens_after <= 20


def test_the_prompt_begins_with_the_stable_part_and_ends_with_the_question(corpus, model) -> None:
    pipeline = Pipeline(corpus.retriever(k=2, candidates=8), model, system_prompt="Be brief.")
    for question in (QUESTION, "How long are backups kept?"):
        pipeline.ask(question)
        system, user = model.prompts[-1]
        assert system == Message("system", "Be brief.")
        assert user.content.endswith(f"Question: {question}")


def test_an_llm_may_answer_with_a_bare_string(corpus) -> None:
    answer = Pipeline(corpus.retriever(k=2), lambda messages: "bare").ask(QUESTION)
    assert answer.text == "bare"


# Tokens and dollars -----------------------------------------------------------------------


def test_tokens_are_counted_where_the_provider_reports_none(fixed, words, model) -> None:
    retriever = fixed(["one two three four"], ["one two three four"])
    billing = Billing(counter=words)
    answer = Pipeline(retriever, model, billing=billing, system_prompt="Be brief.").ask("why so?")
    # "Be brief.", "Context:", "[1] Title", four words, "Question: why so?", and "yes it is" back.
    assert answer.usage == Usage(input=2 + 1 + 2 + 4 + 3, output=3)
    assert answer.usage_method == "words"


def test_the_providers_count_goes_first(fixed, words, new_model) -> None:
    usage = Usage(input=900, cached_input=600, output=50)
    retriever = fixed(["one"], ["one"])
    answer = Pipeline(retriever, new_model(usage=usage), billing=Billing(counter=words)).ask("why?")
    assert (answer.usage, answer.usage_method) == (usage, "provider")


def test_cost_and_saving_are_exact(fixed, words, model, sheet) -> None:
    plain = ["one two three four", "five six seven eight"]
    pipeline = Pipeline(
        fixed(plain[:1], plain),
        model,
        billing=Billing(model="m", prices=sheet, counter=words),
        system_prompt="Be brief.",
    )
    answer = pipeline.ask("why so?")
    # 12 tokens in at $2 and 3 out at $8 per million; a second chunk is 4 words and its title.
    assert answer.cost == Decimal("0.000048")
    assert answer.saved == Decimal("0.000010")


def test_cached_input_is_billed_at_its_own_rate(fixed, words, new_model, sheet) -> None:
    model = new_model(usage=Usage(input=1000, cached_input=600, output=100))
    billing = Billing(model="m", prices=sheet, counter=words)
    answer = Pipeline(fixed(["one"], ["one", "two"]), model, billing=billing).ask("why?")
    assert answer.cost == Decimal("0.0008") + Decimal("0.0003") + Decimal("0.0008")
    assert answer.saved == 2 * Decimal("0.000002")


def test_what_costs_more_is_a_negative_saving(fixed, words, model, sheet) -> None:
    billing = Billing(model="m", prices=sheet, counter=words)
    longer = fixed(["one two three four five six"], ["one"])
    assert Pipeline(longer, model, billing=billing).ask("why?").saved == -Decimal("0.00001")


def test_a_negative_saving_never_reaches_into_the_cached_input(
    fixed, words, new_model, sheet
) -> None:
    model = new_model(usage=Usage(input=10, cached_input=8, output=1))
    billing = Billing(model="m", prices=sheet, counter=words)
    pipeline = Pipeline(fixed(["one two three four five six"], ["one"]), model, billing=billing)
    assert pipeline.ask("why?").saved == -2 * Decimal("0.000002")
    assert not pipeline.failures


def test_the_shipped_prices_are_the_default(corpus, words, model) -> None:
    billing = Billing(model="gpt-5-mini", counter=words)
    answer = Pipeline(corpus.retriever(k=2, candidates=8), model, billing=billing).ask(QUESTION)
    price = billing.price
    expected = price.input * answer.usage.input + price.output * answer.usage.output
    assert answer.cost == expected > 0


def test_without_a_model_nothing_is_priced(fixed, words, model) -> None:
    answer = Pipeline(fixed(["one"], ["one", "two"]), model, billing=Billing(counter=words)).ask(
        "?"
    )
    assert (answer.cost, answer.saved) == (0, 0)
    assert answer.usage.input > 0


def test_the_default_counter_names_its_method(corpus, model) -> None:
    billing = Billing()
    answer = Pipeline(corpus.retriever(k=2), model, billing=billing).ask(QUESTION)
    assert answer.usage_method == billing.counter.method != ""


def test_an_unpriced_model_is_refused_at_once(sheet) -> None:
    with pytest.raises(UnknownPrice, match="gpt-99"):
        Billing(model="gpt-99", prices=sheet)


def test_a_tag_that_the_ledger_would_refuse_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="team"):
        Billing(tags={"team": 5})


# The ledger -------------------------------------------------------------------------------


def test_the_ledger_gets_one_event_a_question(fixed, words, model, sheet, tmp_path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(
            model="m", prices=sheet, ledger=ledger, tags={"team": "docs"}, counter=words
        )
        pipeline = Pipeline(fixed(["one"], ["one", "two"]), model, billing=billing, cache=cache)
        answers = [pipeline.ask(question) for question in ("why?", "why?", "how?")]
        events = list(ledger.events())
        ledger.verify()
    assert [event.kind for event in events] == ["llm", "cache", "llm"]
    assert [event.outcome for event in events] == ["llm", "exact cache", "llm"]
    for event, answer in zip(events, answers, strict=True):
        assert (event.usd, event.saved_usd) == (answer.cost, answer.saved)
        assert event.usage == answer.usage
        assert (event.model, event.tags) == ("m", {"team": "docs"})
        assert event.price_id == billing.price.price_id
        assert 0 <= event.ms <= answer.ms
    assert events[1].usd == 0 < events[1].saved_usd


def test_the_ledger_holds_no_text(fixed, model, tmp_path) -> None:
    path = tmp_path / "ledger.sqlite"
    secrets = ("quixotically", "passphrase", "zymurgy")
    retriever = fixed([secrets[1]], [secrets[1]])
    model.text = secrets[2]
    with Ledger(path) as ledger:
        Pipeline(retriever, model, billing=Billing(ledger=ledger)).ask(f"{secrets[0]}?")
        assert len(ledger) == 1
        kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"unpriced" in kept
    assert not any(secret.encode() in kept for secret in secrets)


# What is refused, and what fails ----------------------------------------------------------


@pytest.mark.parametrize("question", ["", "  \n\t", None, 5, b"why?", ["why?"]])
def test_what_is_no_question_is_refused_before_anything_runs(question, fixed, model) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(fixed(["one"], ["one"]), model, cache=cache)
        with pytest.raises(InputError, match="question="):
            pipeline.ask(question)
        assert cache.stats.lookups == 0
    assert model.prompts == []


@pytest.mark.parametrize(
    "error", [ProviderError("down", status=503), ValueError("odd"), TimeoutError()]
)
def test_a_failing_llm_raises_and_leaves_nothing_behind(error, fixed, tmp_path) -> None:
    def fails(messages):
        raise error

    with Ledger(tmp_path / "ledger.sqlite") as ledger, ExactCache() as cache:
        billing = Billing(ledger=ledger)
        pipeline = Pipeline(fixed(["one"], ["one"]), fails, cache=cache, billing=billing)
        with pytest.raises(type(error)) as raised:
            pipeline.ask("why?")
        assert raised.value is error
        assert (len(ledger), len(cache)) == (0, 0)
    assert not pipeline.failures


def test_a_failing_retrieval_raises(model) -> None:
    class Fails:
        def retrieve(self, question, vector=None):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Pipeline(Fails(), model).ask("why?")
    assert model.prompts == []


@pytest.mark.parametrize("answer", [None, 5, {"text": "yes"}])
def test_an_llm_that_answers_no_text_is_refused(answer, fixed) -> None:
    with ExactCache() as cache:
        pipeline = Pipeline(fixed(["one"], ["one"]), lambda messages: answer, cache=cache)
        with pytest.raises(InputError, match="expected a Completion"):
            pipeline.ask("why?")
        assert len(cache) == 0


def test_an_llm_must_be_callable(fixed) -> None:
    with pytest.raises(InputError, match="llm is str"):
        Pipeline(fixed(["one"], ["one"]), "gpt-5-mini")


@pytest.mark.parametrize("budget", [0, -1, 2.5, True])
def test_an_unusable_budget_is_refused_at_once(budget, fixed, model) -> None:
    with pytest.raises(InputError, match="max_tokens="):
        Pipeline(fixed([], []), model, compressor=Extractive(), max_context_tokens=budget)


def test_a_budget_needs_a_compressor(fixed, model) -> None:
    with pytest.raises(InputError, match="without a compressor"):
        Pipeline(fixed([], []), model, max_context_tokens=100)


def test_nothing_found_is_asked_all_the_same(fixed, model, words) -> None:
    pipeline = Pipeline(fixed([], []), model, compressor=Extractive(), billing=Billing())
    answer = pipeline.ask("why?")
    assert (answer.text, answer.sources) == ("yes it is", ())
    assert not pipeline.failures


def test_its_representation_holds_no_text(fixed, corpus, model) -> None:
    pipeline = Pipeline(corpus.retriever(), model, billing=Billing(model="gpt-5-mini"))
    shown = repr(pipeline)
    assert "gpt-5-mini" in shown
    assert "Rotate" not in shown
