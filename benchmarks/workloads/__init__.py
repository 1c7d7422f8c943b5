"""Seeded workloads: streams of questions, arrivals, mixes of operations, grown vector sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragopt.lazy import lazily

if TYPE_CHECKING:
    from ragopt.benchmarks.workloads.arrivals import (
        BlockReuse,
        Concurrency,
        block_reuse,
        concurrency,
        poisson,
        rescale,
        window,
    )
    from ragopt.benchmarks.workloads.growth import GrowthOptions, GrowthReport, grow
    from ragopt.benchmarks.workloads.mixes import Mix, MixOptions, Operation, mix, not_live
    from ragopt.benchmarks.workloads.streams import (
        LogShape,
        Stream,
        log_shape,
        paraphrase_stream,
        reshape,
        stream_of_intents,
        stream_of_pairs,
        zipf_indices,
    )

_HOMES = {
    "BlockReuse": ".arrivals",
    "Concurrency": ".arrivals",
    "GrowthOptions": ".growth",
    "GrowthReport": ".growth",
    "LogShape": ".streams",
    "Mix": ".mixes",
    "MixOptions": ".mixes",
    "Operation": ".mixes",
    "Stream": ".streams",
    "block_reuse": ".arrivals",
    "concurrency": ".arrivals",
    "grow": ".growth",
    "log_shape": ".streams",
    "mix": ".mixes",
    "not_live": ".mixes",
    "paraphrase_stream": ".streams",
    "poisson": ".arrivals",
    "rescale": ".arrivals",
    "reshape": ".streams",
    "stream_of_intents": ".streams",
    "stream_of_pairs": ".streams",
    "window": ".arrivals",
    "zipf_indices": ".streams",
}

__all__ = [
    "BlockReuse",
    "Concurrency",
    "GrowthOptions",
    "GrowthReport",
    "LogShape",
    "Mix",
    "MixOptions",
    "Operation",
    "Stream",
    "block_reuse",
    "concurrency",
    "grow",
    "log_shape",
    "mix",
    "not_live",
    "paraphrase_stream",
    "poisson",
    "rescale",
    "reshape",
    "stream_of_intents",
    "stream_of_pairs",
    "window",
    "zipf_indices",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
