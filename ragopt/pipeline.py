"""The road of a question: cache, retrieve, compress, ask, account, remember.

Every stage but retrieval and the model is optional, and every stage is accounted for. A stage that
only saves money never fails a question: when it raises, it is skipped, counted and reported.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragopt.answer import Answer, Source
from ragopt.billing import Billing
from ragopt.compress.base import (
    Compressed,
    CompressedChunk,
    Compressor,
    check_request,
    render_context,
    unchanged,
    whole_span,
)
from ragopt.compress.break_even import BreakEvenGate
from ragopt.cost.model_prices import Usage, to_decimal
from ragopt.errors import InputError
from ragopt.llm.base import (
    LLM,
    SYSTEM_PROMPT,
    AsyncLLM,
    Completion,
    Message,
    acomplete,
    complete,
    render_prompt,
)
from ragopt.rerank.base import passage
from ragopt.retrieve import Retrieved, Retrieves, Stage

if TYPE_CHECKING:
    from ragopt.cache import CacheHit, Scope, Support
    from ragopt.embed import Embedder

__all__ = ["Answer", "Billing", "Pipeline", "Source"]

_Result = TypeVar("_Result")
_Stored = Callable[[str], "NDArray[np.float32] | None"]
_NOTHING = Decimal(0)
_CUT_SHORT = {"length", "content_filter"}  # such answers are not worth giving twice


class AnswerCache(Protocol):
    """What the pipeline asks of a cache; `ragopt.cache` has two."""

    def get(
        self,
        question: str,
        *,
        scope: Scope | None = None,
        vector: NDArray[np.float32] | Callable[[], NDArray[np.float32]] | None = None,
    ) -> CacheHit | None:
        """The cached answer, if one may be served."""
        ...

    def put(
        self,
        question: str,
        answer: str,
        *,
        scope: Scope | None = None,
        vector: NDArray[np.float32] | None = None,
        payload: Mapping[str, Any] | None = None,
        sources: Sequence[str] = (),
        usd: float | None = None,
    ) -> object:
        """Remember an answer, and what a hit will save."""
        ...


class _QuestionVector:
    """A question's vector, read or computed once, by the first stage that asks for it."""

    def __init__(self, embedder: Embedder, question: str, stored: _Stored | None) -> None:
        self._embedder = embedder
        self._question = question
        self._stored = stored
        self.known: NDArray[np.float32] | None = None
        self.read = False

    def __call__(self) -> NDArray[np.float32]:
        if self.known is None and self._stored is not None:
            self.known = self._stored(self._question)
            self.read = self.known is not None
        if self.known is None:
            self.known = np.asarray(self._embedder.embed([self._question])[0], dtype=np.float32)
        return self.known


class _Recheck:
    """Asks the evidence retrieved now about a hit; what was retrieved then serves the model too."""

    def __init__(self, support: Support, retrieve: Callable[[], Retrieved]) -> None:
        self._support = support
        self._retrieve = retrieve
        self.found: Retrieved | None = None
        self.ms = 0.0
        self.stages: tuple[Stage, ...] = ()

    def __call__(self, hit: CacheHit) -> bool:
        begin = perf_counter()
        try:
            self.found = self._retrieve()
            self.stages = self.found.stages
            checking = perf_counter()
            verdict = self._support.check(
                hit.answer,
                [passage(each.chunk) for each in self.found.hits],
                _texts(hit.payload.get("lacking")),
            )
            said = "served" if verdict.enough else "not served"
            stage = Stage(name="recheck", ms=_ms(checking), note=f"{said}: {verdict}")
            self.stages = (*self.stages, stage)
            return verdict.enough
        finally:
            self.ms = _ms(begin)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A question on its way to the model."""

    question: str
    scope: Scope | None
    messages: list[Message]
    context: Compressed
    vector: NDArray[np.float32] | None
    tokens_spared: int
    stages: tuple[Stage, ...]


class Pipeline:
    """Retrieval-augmented generation in which every stage is accounted for.

    Args:
        retriever: finds the chunks.
        llm: any callable from messages to a `ragopt.llm.Completion` or a string, synchronous or
            asynchronous.
        compressor: shortens the context; none by default. What the retriever's `Tighten` has
            shortened to fit its budget is not shortened again. Once one that costs money has spent
            more than it saved at the prices of ``billing`` it is left out, which its stage says.
        max_context_tokens: budget for the compressor, 1 or more; it decides itself by default.
        cache: serves answers given before; none by default.
        recheck: serves them only where what is retrieved now supports them; not checked by default.
            A hit then costs its retrieval, which a `ragopt.cache.CachedRetriever` saves; a hit that
            is refused costs nothing beside, since the model gets what was retrieved.
        billing: prices and ledger; tokens are counted but not priced by default.
        system_prompt: the stable beginning of every prompt.

    Attributes:
        failures: how often each stage was skipped because it raised.

    Raises:
        InputError: an ``llm`` that cannot be called, a budget without a compressor or below 1, or
            ``recheck`` without a cache that can be told to refuse.

    Example:
        >>> from ragopt import Pipeline                                     # doctest: +SKIP
        >>> pipeline = Pipeline(retriever, llm=client, cache=cache)         # doctest: +SKIP
        >>> pipeline.ask("How do I rotate a key?").saved                    # doctest: +SKIP
        Decimal('0.000412')
    """

    def __init__(
        self,
        retriever: Retrieves,
        llm: LLM | AsyncLLM | Callable[[Sequence[Message]], str],
        *,
        compressor: Compressor | None = None,
        max_context_tokens: int | None = None,
        cache: AnswerCache | None = None,
        recheck: Support | None = None,
        billing: Billing | None = None,
        system_prompt: str = SYSTEM_PROMPT,
    ) -> None:
        if not callable(llm):
            raise InputError(
                f"llm is {type(llm).__name__}, expected a callable from messages to a Completion "
                "or a string"
            )
        if not callable(getattr(retriever, "retrieve", None)):
            raise InputError(
                f"retriever is {type(retriever).__name__}, expected something with "
                "retrieve(question), such as corpus.retriever()"
            )
        _check_budget(max_context_tokens, compressor)
        _check_recheck(recheck, cache)
        self.retriever = retriever
        self.llm = llm
        self.compressor = compressor
        self.max_context_tokens = max_context_tokens
        self.cache = cache
        self.recheck = recheck
        self.billing = billing or Billing()
        self.system_prompt = system_prompt
        self.failures: Counter[str] = Counter()
        self._scope = self._default_scope()
        price = self.billing.price
        self._gate = BreakEvenGate(price) if price is not None and compressor is not None else None
        self._counting = threading.Lock()

    def ask(self, question: str, *, scope: Scope | None = None) -> Answer:
        """Answer a question.

        Args:
            question: as the user put it.
            scope: of the cache; only answers of an equal scope are served. By default the model,
                the system prompt and the retriever's ``corpus_version`` make one: a pipeline on
                the same cache with another of these never serves its answers.

        Raises:
            InputError: a blank question, or an asynchronous ``llm`` (use `aask`).
            ProviderError: the model failed; whatever else ``llm`` raises passes through.
        """
        prepared = self._prepare(question, scope)
        if isinstance(prepared, Answer):
            return prepared
        begin = perf_counter()
        completion = complete(self.llm, prepared.messages)  # type: ignore[arg-type]
        return self._finish(prepared, completion, _ms(begin))

    async def aask(self, question: str, *, scope: Scope | None = None) -> Answer:
        """`ask` for asynchronous code: the event loop is never blocked.

        Raises:
            InputError: a blank question.
            ProviderError: as `ask`.
        """
        prepared = await asyncio.to_thread(self._prepare, question, scope)
        if isinstance(prepared, Answer):
            return prepared
        begin = perf_counter()
        completion = await acomplete(self.llm, prepared.messages)
        return await asyncio.to_thread(self._finish, prepared, completion, _ms(begin))

    def _default_scope(self) -> Scope | None:
        if self.cache is None:
            return None
        from ragopt.cache import Scope

        model = self.billing.model or getattr(self.llm, "model", "")
        version = getattr(self.retriever, "corpus_version", "")
        return Scope(
            model=model if isinstance(model, str) else "",
            system_prompt=self.system_prompt,
            corpus_version=version if isinstance(version, str) else "",
        )

    # Before the model ---------------------------------------------------------------------

    def _prepare(self, question: str, scope: Scope | None) -> Answer | _Prepared:
        if not isinstance(question, str) or not question.strip():
            raise InputError(f"question={question!r}: expected a text with at least one word")
        stages: list[Stage] = []
        scope = self._scope if scope is None else scope
        vector = self._vector_for_cache(question)

        def retrieve() -> Retrieved:
            return self.retriever.retrieve(question, vector.known if vector else None)

        recheck = None if self.recheck is None else _Recheck(self.recheck, retrieve)
        served = self._look_up(question, scope, vector, stages, recheck)
        if served is not None:
            return self._recorded(replace(served, stages=tuple(stages)))
        found = None if recheck is None else recheck.found
        if found is None:
            found = retrieve()
            stages.extend(found.stages)
        context = self._packed(found)
        if context is None:
            context = self._compress(question, list(found.hits), stages)
        passages = [(part.chunk.title, part.text) for part in context.chunks]
        plain = self._rendered_tokens(found.plain)
        return _Prepared(
            question=question,
            scope=scope,
            messages=render_prompt(question, passages, system=self.system_prompt),
            context=context,
            vector=found.vector if vector else None,
            tokens_spared=plain - context.tokens_after,
            stages=tuple(stages),
        )

    def _vector_for_cache(self, question: str) -> _QuestionVector | None:
        """The question's vector for cache and search alike; None where their embedders differ."""
        searching = getattr(self.retriever, "embedder", None)
        caching = getattr(self.cache, "embedder", None)
        name = getattr(searching, "id", None)
        if searching is None or name is None or name != getattr(caching, "id", None):
            return None
        stored = getattr(self.retriever, "stored_vector", None)
        return _QuestionVector(searching, question, stored if callable(stored) else None)

    def _look_up(
        self,
        question: str,
        scope: Scope | None,
        vector: _QuestionVector | None,
        stages: list[Stage],
        recheck: _Recheck | None,
    ) -> Answer | None:
        cache = self.cache
        if cache is None:
            return None
        checked: dict[str, Any] = {} if recheck is None else {"check": recheck}

        def look_up() -> tuple[Answer | None, str]:
            return _served(cache.get(question, scope=scope, vector=vector, **checked))

        found, stage = self._guarded("cache", look_up)
        answer, note = (None, stage.note) if found is None else found
        if recheck is not None and recheck.stages:
            stage = replace(stage, ms=max(0.0, stage.ms - recheck.ms))
            note = note if answer or stage.failed else "hit, refused by the recheck"
        if vector is not None and vector.read:
            note += ", embedding read from the retrieval cache"
        stages.append(replace(stage, note=note))
        if recheck is not None:
            stages.extend(recheck.stages)
        return answer

    def _packed(self, found: Retrieved) -> Compressed | None:
        """The context as tightening shortened it; None where it left the chunks whole."""
        tightened = getattr(found, "tightened", None)
        if tightened is None or not tightened.is_compressed:
            return None
        chunks = tuple(
            CompressedChunk(one.hit.chunk, one.text, one.spans or whole_span(one.hit.chunk))
            for one in tightened.kept
        )
        text = render_context(chunks)
        before = self._rendered_tokens(found.hits)
        return Compressed(chunks, text, before, self.billing.counter.count(text))

    def _compress(self, question: str, hits: list[Any], stages: list[Stage]) -> Compressed:
        count = self.billing.counter.count
        compressor = self.compressor
        if compressor is None:
            return unchanged(hits, count, "no compressor")
        gate = self._gate
        why = gate and gate.reason(
            compressor, lambda: self._rendered_tokens(hits), self.max_context_tokens
        )
        if why:
            whole = unchanged(hits, count, why)
            tokens = whole.tokens_before
            stages.append(
                Stage(name="compress", ms=0.0, tokens_before=tokens, tokens_after=tokens, note=why)
            )
            return whole
        compressed, stage = self._guarded(
            "compress",
            lambda: _checked(
                compressor.compress(question, hits, max_tokens=self.max_context_tokens), compressor
            ),
        )
        if compressed is None:
            stages.append(stage)
            return unchanged(hits, count, "the compressor failed")
        if gate is not None:
            gate.observe(compressed, stage.ms)
        stages.append(
            replace(
                stage,
                tokens_before=compressed.tokens_before,
                tokens_after=compressed.tokens_after,
                note=compressed.skipped_reason or "",
            )
        )
        return compressed

    def _rendered_tokens(self, hits: Sequence[Any]) -> int:
        return unchanged(hits, self.billing.counter.count, "").tokens_after

    # After the model ----------------------------------------------------------------------

    def _finish(self, prepared: _Prepared, completion: Completion, ms: float) -> Answer:
        usage, method = self.billing.usage_of(prepared.messages, completion)
        stages = [*prepared.stages, Stage(name="llm", ms=ms, note=completion.model)]
        cost, saved = self._priced(usage, prepared.tokens_spared, stages)
        spent = prepared.context.cost_usd
        cost, saved = cost + spent, saved - spent
        answer = Answer(
            text=completion.text,
            sources=tuple(
                Source(part.chunk.id, part.chunk.source, part.chunk.title, part.chunk.start)
                for part in prepared.context.chunks
            ),
            usage=usage,
            usage_method=method,
            cost=cost,
            saved=saved,
            context=prepared.context,
            stages=tuple(stages),
        )
        if completion.finish_reason not in _CUT_SHORT:
            answer = self._remembered(prepared, answer)
        return self._recorded(answer)

    def _priced(
        self, usage: Usage, tokens_spared: int, stages: list[Stage]
    ) -> tuple[Decimal, Decimal]:
        """Cost and saving; an answer that is paid for is not lost over a rate that is missing."""

        def priced() -> tuple[Decimal, Decimal]:
            # Retrieval that is billed for, by a reranker behind an API, is a cost of the saving.
            retrieval = sum((stage.usd for stage in stages if stage.usd is not None), _NOTHING)
            cost = self.billing.usd(usage) + retrieval
            saved = self.billing.usd(_with_input(usage, tokens_spared)) - cost
            return cost, saved or _NOTHING  # not 0E-8

        found, stage = self._guarded("price", priced)
        if found is not None:
            return found
        stages.append(stage)
        return _NOTHING, _NOTHING

    def _remembered(self, prepared: _Prepared, answer: Answer) -> Answer:
        cache = self.cache
        if cache is None:
            return answer
        payload: dict[str, Any] = {
            "usd": str(answer.cost + answer.saved),
            "sources": [
                [source.chunk_id, source.document, source.title, source.start]
                for source in answer.sources
            ],
        }

        def remember() -> object:
            if self.recheck is not None:
                texts = [f"{part.chunk.title}\n{part.text}" for part in prepared.context.chunks]
                payload["lacking"] = self.recheck.lacking(answer.text, texts)
            return cache.put(
                prepared.question,
                answer.text,
                scope=prepared.scope,
                vector=prepared.vector,
                payload=payload,
                sources=sorted({source.document for source in answer.sources}),
                usd=float(answer.cost + answer.saved) or None,
            )

        _, stage = self._guarded("remember", remember)
        return replace(answer, stages=(*answer.stages, stage))

    def _recorded(self, answer: Answer) -> Answer:
        ledger = self.billing.ledger
        if ledger is None:
            return answer
        _, stage = self._guarded("ledger", lambda: ledger.record(self._event(answer)))
        return replace(answer, stages=(*answer.stages, stage))

    def _event(self, answer: Answer) -> Any:
        from ragopt.cost.ledger import CostEvent

        return CostEvent(
            time=datetime.now(timezone.utc),
            kind="llm" if answer.served_from == "llm" else "cache",
            model=self.billing.model or "unpriced",
            usage=answer.usage,
            price_id=self.billing.price.price_id if self.billing.price else "",
            usd=answer.cost,
            saved_usd=answer.saved,
            ms=answer.ms,
            outcome="unpriced" if _failed(answer, "price") else answer.served_from,
            tags={**_stage_tags(answer), **self.billing.tags},
        )

    def _guarded(self, name: str, call: Callable[[], _Result]) -> tuple[_Result | None, Stage]:
        """Run a stage that may not fail the question; its error goes into the stage's note."""
        begin = perf_counter()
        try:
            return call(), Stage(name=name, ms=_ms(begin))
        except Exception as error:  # noqa: BLE001 - whatever fails here must not fail the question
            with self._counting:
                self.failures[name] += 1
            return None, Stage(name=name, ms=_ms(begin), note=repr(error), failed=True)

    def __repr__(self) -> str:
        parts = {
            "retriever": self.retriever,
            "compressor": self.compressor,
            "cache": self.cache,
            "recheck": self.recheck,
            "model": self.billing.model,
        }
        shown = ", ".join(f"{name}={part!r}" for name, part in parts.items() if part is not None)
        return f"Pipeline({shown})"


def _check_budget(max_context_tokens: int | None, compressor: Compressor | None) -> None:
    if max_context_tokens is None:
        return
    if compressor is None:
        raise InputError(
            f"max_context_tokens={max_context_tokens!r} without a compressor; pass compressor= too"
        )
    check_request([], max_context_tokens)


def _check_recheck(recheck: Support | None, cache: AnswerCache | None) -> None:
    if recheck is None:
        return
    if cache is None:
        raise InputError("recheck= without a cache: there is nothing to check; pass cache= too")
    if "check" not in inspect.signature(cache.get).parameters:
        raise InputError(
            f"{type(cache).__name__}.get() takes no check=, so that it would serve what recheck= "
            "refuses; use a cache of ragopt.cache"
        )


def _served(hit: CacheHit | None) -> tuple[Answer | None, str]:
    """What a look-up serves, and a note for its stage."""
    if hit is None:
        return None, "miss"
    answer = Answer(
        text=hit.answer,
        sources=tuple(Source(*source) for source in hit.payload.get("sources", ())),
        served_from="exact cache" if hit.tier == "exact" else "semantic cache",
        usage_method="none",
        saved=to_decimal(hit.payload.get("usd", "0"), "usd of the cached answer"),
        cached_question=hit.question,
    )
    # how similar the questions were is for the hit log: users could feel their way to others' by it
    note = f"{hit.tier} hit"
    if hit.shared and hit.scope is not None:
        note += f" in the shared scope of tenant {hit.scope.tenant!r}"
    return answer, note


def _stage_tags(answer: Answer) -> dict[str, str]:
    """What the ledger says beside cost and outcome of a question."""
    tags = {}
    if any(stage.cached for stage in answer.stages):
        tags["retrieval"] = "cached"
    if any(stage.name == "recheck" for stage in answer.stages):
        tags["recheck"] = "refused" if answer.served_from == "llm" else "served"
    return tags


def _texts(stored: object) -> list[str] | None:
    """What `Support.lacking` said, unless somebody else put something else there."""
    if isinstance(stored, list) and all(isinstance(each, str) for each in stored):
        return stored
    return None


def _checked(compressed: Any, compressor: Compressor) -> Compressed:
    if not isinstance(compressed, Compressed):
        raise InputError(
            f"{type(compressor).__name__} returned {type(compressed).__name__}, expected a "
            "Compressed"
        )
    return compressed


def _with_input(usage: Usage, more: int) -> Usage:
    """A usage with more, or less, ordinary input; what the provider cached stays as it is."""
    return replace(usage, input=usage.input + max(more, -usage.leaves()["input"]))


def _failed(answer: Answer, name: str) -> bool:
    return any(stage.name == name and stage.failed for stage in answer.stages)


def _ms(begin: float) -> float:
    return (perf_counter() - begin) * 1e3
