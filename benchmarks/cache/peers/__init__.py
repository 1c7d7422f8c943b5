"""Caches of others, each behind its own real interface and with the same embedder."""

from ragopt.benchmarks.cache.peers.gptcache import GPTCACHE
from ragopt.benchmarks.cache.peers.langchain import LANGCHAIN
from ragopt.benchmarks.cache.peers.redisvl import REDISVL

__all__ = ["PEERS"]

PEERS = (GPTCACHE, REDISVL, *LANGCHAIN)
