"""Where the entries of a cache stand."""

from ragopt.cache.stores.base import DamagedEntry, Entry, EntryStore, Limits, Put, Quota
from ragopt.cache.stores.redis import RedisStore
from ragopt.cache.stores.sqlite import SqliteStore

__all__ = [
    "DamagedEntry",
    "Entry",
    "EntryStore",
    "Limits",
    "Put",
    "Quota",
    "RedisStore",
    "SqliteStore",
]
