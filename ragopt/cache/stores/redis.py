"""Entries in Redis, shared by all machines that reach it (extra ``redis``).

Every change is one Lua script, which Redis runs alone: what one process writes, others see whole or
not at all. Keys below a prefix:

    :e:<id>       hash of an entry's fields, with its checksum
    :t:<text>     id of the entry of a scope and a text
    :s:<scope>    sorted set of a scope's ids
    :l:<label>    set of the ids that carry a label; :el:<id> the labels of an entry
    :p            ids by priority, :x ids by expiry, :c ids by time of storing
    :m            hash of counters: last id, entries, bytes, removals, changes, inflation, and the
                  number before that of the first observation
    :o            list of observations, :oe:<id> those of an entry
    :k            hash of settings, :q:<author> times of what an author stored
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ragopt.cache.policies.base import Observation
from ragopt.cache.stores.base import DamagedEntry, Entry, Put, checked_observation
from ragopt.errors import IndexCorrupt, InputError, RagoptError, StorageError, StoreBusy
from ragopt.optional import import_backend

__all__ = ["DEFAULT_PREFIX", "RedisStore"]

DEFAULT_PREFIX = "ragopt"
_FORMAT = b"ragopt cache 1"
_BATCH = 4096  # vectors read at once
_FIELDS = (
    "scope", "exact", "created", "expires", "vector", "question", "answer", "payload", "author",
    "usd", "checksum",
)  # fmt: skip
_TIMEOUT_S = 2.0

_LIBRARY = """
local p = KEYS[1]
local m = p .. ':m'
local function drop(id)
  local e = p .. ':e:' .. id
  local f = redis.call('HMGET', e, 'scope', 'exact', 'size')
  if not f[1] then return 0 end
  redis.call('DEL', e, p .. ':cf:' .. id, p .. ':oe:' .. id)
  redis.call('DEL', p .. ':t:' .. f[1] .. f[2])
  redis.call('ZREM', p .. ':s:' .. f[1], id)
  redis.call('ZREM', p .. ':p', id)
  redis.call('ZREM', p .. ':x', id)
  redis.call('ZREM', p .. ':c', id)
  for _, label in ipairs(redis.call('SMEMBERS', p .. ':el:' .. id)) do
    redis.call('SREM', p .. ':l:' .. label, id)
  end
  redis.call('DEL', p .. ':el:' .. id)
  redis.call('HINCRBY', m, 'entries', -1)
  redis.call('HINCRBY', m, 'bytes', -tonumber(f[3]))
  redis.call('HINCRBY', m, 'removals', 1)
  return 1
end
local function number(name)
  return tonumber(redis.call('HGET', m, name) or '0')
end
local function served(used)
  for id, times in pairs(used) do
    local e = p .. ':e:' .. id
    if redis.call('EXISTS', e) == 1 then
      local hits = redis.call('HINCRBY', e, 'hits', times)
      local density = tonumber(redis.call('HGET', e, 'density'))
      redis.call('ZADD', p .. ':p', number('inflation') + hits * density, id)
    end
  end
end
-- counts on, and never back: a Redis that starts without its last data, or without any, gives
-- numbers beyond those that caches have seen
local function rising(name)
  local time = redis.call('TIME')
  local value = math.max(number(name) + 1, time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', m, name, string.format('%.0f', value))
  return string.format('%.0f', value)
end
rising('changes')
local given = cjson.decode(ARGV[1])
"""

_PUT = (
    _LIBRARY
    + f"redis.call('SET', p .. ':format', '{_FORMAT.decode()}', 'NX')"
    + """
for _, id in ipairs(given.doomed) do drop(id) end
served(given.used)
if given.quota then
  local q = p .. ':q:' .. given.author
  redis.call('ZREMRANGEBYSCORE', q, '-inf', given.created - given.quota[2])
  redis.call('ZREMRANGEBYSCORE', q, given.created + given.quota[2], '+inf')
  if redis.call('ZCARD', q) >= given.quota[1] then return {0, 'quota'} end
  redis.call('ZADD', q, given.created, redis.call('HINCRBY', m, 'stored', 1))
  redis.call('PEXPIRE', q, math.ceil(given.quota[2] * 1000))
end
local scope, exact = ARGV[2], ARGV[3]
local before = redis.call('GET', p .. ':t:' .. scope .. exact)
if before then drop(before) end
local density = given.density
local priority = number('inflation') + given.frequency * density
local function excess()
  local many = given.max_entries and number('entries') + 1 > given.max_entries
  local large = given.max_bytes and number('bytes') + given.size > given.max_bytes
  return many or large
end
if excess() then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. ':x', '-inf', given.created)) do drop(id) end
  -- nothing is evicted before it is known that all of it is worth less
  local victims, last, fits = {}, 0, not excess()
  local entries, bytes = number('entries'), number('bytes')
  local start = 0
  while not fits do
    local next = redis.call('ZRANGE', p .. ':p', start, start, 'WITHSCORES')
    if not next[1] then break end
    if not before and tonumber(next[2]) > priority then break end
    victims[#victims + 1], last = next[1], tonumber(next[2])
    entries = entries - 1
    bytes = bytes - tonumber(redis.call('HGET', p .. ':e:' .. next[1], 'size'))
    start = start + 1
    fits = not (given.max_entries and entries + 1 > given.max_entries)
      and not (given.max_bytes and bytes + given.size > given.max_bytes)
  end
  local inflation = fits and last or priority
  if inflation > number('inflation') then
    redis.call('HSET', m, 'inflation', string.format('%.17g', inflation))
  end
  if not fits then return {0, 'worth less'} end
  for _, id in ipairs(victims) do drop(id) end
end
local id = rising('next')
local e = p .. ':e:' .. id
local fields = {}
for place = 4, #ARGV, 2 do
  redis.call('HSET', e, ARGV[place], ARGV[place + 1])
end
redis.call('HSET', e, 'size', given.size, 'hits', 1, 'density', string.format('%.17g', density))
redis.call('SET', p .. ':t:' .. scope .. exact, id)
redis.call('ZADD', p .. ':s:' .. scope, id, id)
redis.call('ZADD', p .. ':p', priority, id)
redis.call('ZADD', p .. ':c', given.created, id)
if given.expires then redis.call('ZADD', p .. ':x', given.expires, id) end
for _, label in ipairs(given.labels) do
  redis.call('SADD', p .. ':l:' .. label, id)
  redis.call('SADD', p .. ':el:' .. id, label)
end
redis.call('HINCRBY', m, 'entries', 1)
redis.call('HINCRBY', m, 'bytes', given.size)
return {tonumber(id), ''}
"""
)

_SETTLE = _LIBRARY + "for _, id in ipairs(given.doomed) do drop(id) end served(given.used) return 0"

_PURGE = (
    _LIBRARY
    + """
local ids
if given.entry then ids = {given.entry}
elseif given.labels[1] then ids = redis.call('SMEMBERS', p .. ':l:' .. given.labels[1])
elseif ARGV[2] ~= '' then ids = redis.call('ZRANGE', p .. ':s:' .. ARGV[2], 0, -1)
else ids = redis.call('ZRANGE', p .. ':c', 0, -1) end
local gone = 0
for _, id in ipairs(ids) do
  local e = p .. ':e:' .. id
  local meets = ARGV[2] == '' or redis.call('HGET', e, 'scope') == ARGV[2]
  if given.until_ then
    local created = redis.call('ZSCORE', p .. ':c', id)
    meets = meets and created and tonumber(created) <= given.until_
  end
  for _, label in ipairs(given.labels) do
    meets = meets and redis.call('SISMEMBER', p .. ':l:' .. label, id) == 1
  end
  if meets then gone = gone + drop(id) end
end
return gone
"""
)

_CONFIRM = (
    _LIBRARY
    + """
local c = p .. ':cf:' .. given.entry
if redis.call('EXISTS', p .. ':e:' .. given.entry) == 1 then redis.call('SADD', c, ARGV[2]) end
return redis.call('SCARD', c)
"""
)

_OBSERVE = (
    _LIBRARY
    + """
if redis.call('EXISTS', p .. ':o') == 0 and number('observed') == 0 then rising('observed') end
for _, row in ipairs(given.rows) do
  local line = cjson.encode(row)
  redis.call('RPUSH', p .. ':o', line)
  redis.call('RPUSH', p .. ':oe:' .. row[1], line)
end
return 0
"""
)


class RedisStore:
    """An `EntryStore` in Redis.

    Args:
        url: such as ``"redis://localhost:6379/0"``.
        prefix: of all keys; two caches with one prefix are one cache.
        secret: keys the checksums.
        timeout_s: how long to wait for an answer.
        make: begin a cache where there is none; otherwise it is refused.

    Raises:
        BackendMissing: the package is not installed.
        InputError: an unusable address, another program's keys below the prefix, or no cache.
        StorageError: Redis does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        secret: bytes = b"",
        timeout_s: float = _TIMEOUT_S,
        make: bool = True,
    ) -> None:
        self._redis = import_backend("redis", "redis", "RedisStore")
        self._prefix = prefix
        self._secret = secret
        if not isinstance(url, str):
            raise InputError(f"url is {type(url).__name__}, expected the address of a Redis")
        self._url = url.rpartition("@")[2].partition("?")[0]  # without the password
        try:
            self._client = self._redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        except ValueError:
            # the error may quote a part of the password
            raise InputError(
                f"{self._url!r} is no address of a Redis, expected such as "
                "'redis://:password@localhost:6379/0' with the password percent-encoded"
            ) from None
        self._scripts = {
            name: self._client.register_script(code)
            for name, code in (
                ("put", _PUT), ("settle", _SETTLE), ("purge", _PURGE), ("confirm", _CONFIRM),
                ("observe", _OBSERVE),
            )
        }  # fmt: skip
        with self._errors():
            found = self._begun() if make else self._client.get(self._key("format"))
        if found is None and not make:
            raise InputError(f"{self.name}: there is no cache; RedisStore(url, prefix=…) makes one")
        if found not in (None, _FORMAT):
            raise InputError(
                f"{self.name}: holds {found[:40]!r}, expected a ragopt cache; choose another prefix"
            )

    @property
    def name(self) -> str:
        """Address and prefix."""
        return f"{self._url}#{self._prefix}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def memory_bytes(self) -> int:
        """Nothing: it stands in the memory of Redis."""
        return 0

    def summary(self, now: float) -> dict[str, Any]:
        """Counts, bytes and ages (seconds; None where there is no entry) of all entries."""
        with self._errors():
            counters = self._client.hgetall(self._key("m"))
            expired = self._client.zcount(self._key("x"), "-inf", now)
            ends = [
                self._client.zrange(self._key("c"), place, place, withscores=True)
                for place in (0, -1)
            ]
            scopes = sum(1 for _ in self._client.scan_iter(self._key("s:") + b"*", count=1000))
        audits = [each for _, each in self.observations() if each.audit]
        oldest, newest = (now - end[0][1] if end else None for end in ends)
        return {
            "entries": int(counters.get(b"entries", 0)),
            "expired": int(expired),
            "scopes": scopes,
            "bytes": int(counters.get(b"bytes", 0)),
            "removals": int(counters.get(b"removals", 0)),
            "oldest_s": oldest,
            "newest_s": newest,
            "audits": len(audits),
            "audits_wrong": sum(not each.correct for each in audits),
        }

    def state(self) -> tuple[int, int]:
        """A pair that differs whenever anybody has changed anything."""
        with self._errors():
            changes, removals = self._client.hmget(self._key("m"), "changes", "removals")
        return int(changes or 0), int(removals or 0)

    def totals(self) -> tuple[int, int]:
        """Entries stored, and entries ever removed."""
        with self._errors():
            entries, removals = self._client.hmget(self._key("m"), "entries", "removals")
        return int(entries or 0), int(removals or 0)

    def find(self, scope: bytes, exact: bytes) -> Entry | None:
        """The entry of this text in this scope.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        with self._errors():
            entry_id = self._client.get(self._key("t:") + scope + exact)
        entry = None if entry_id is None else self.fetch(int(entry_id))
        return entry if entry and (entry.scope, entry.exact) == (scope, exact) else None

    def fetch(self, entry_id: int) -> Entry | None:
        """The entry of this id, or None when somebody removed it.

        Raises:
            DamagedEntry: it is there, and altered.
        """
        with self._errors():
            values = self._client.hmget(self._key(f"e:{entry_id}"), _FIELDS)
        return None if values[0] is None else self._checked(entry_id, values)

    def vectors(self, scope: bytes, after: int) -> Iterator[tuple[int, Any]]:
        """Ids and vector blobs of a scope's entries with ids beyond ``after``, rising."""
        while True:
            with self._errors():
                ids = [
                    int(each)
                    for each in self._client.zrange(
                        self._key("s:") + scope, f"({after}", "+inf", byscore=True, offset=0,
                        num=_BATCH,
                    )
                ]  # fmt: skip
                pipe = self._client.pipeline(transaction=False)
                for entry_id in ids:
                    pipe.hget(self._key(f"e:{entry_id}"), "vector")
                blobs = pipe.execute() if ids else []
            # an entry without a vector has an empty one; one that went meanwhile has none
            yield from ((entry, blob or None) for entry, blob in zip(ids, blobs, strict=True))
            if len(ids) < _BATCH:
                return
            after = ids[-1]

    def ids(self, scope: bytes) -> list[int]:
        """Ids of a scope's entries."""
        with self._errors():
            return [int(each) for each in self._client.zrange(self._key("s:") + scope, 0, -1)]

    def put(self, put: Put) -> tuple[int, str]:
        """Store an entry in the place of one of the same text, in one script.

        Returns:
            As `EntryStore.put`.
        """
        entry = put.entry
        given = {
            "doomed": list(put.doomed),
            "used": _times(put.used),
            "labels": [f"{kind}:{label}" for kind, label in put.labels],
            "created": entry.created,
            "expires": entry.expires,
            "size": entry.size,
            "density": entry.density,
            "frequency": max(1, put.frequency),
            "max_entries": put.limits.max_entries,
            "max_bytes": put.limits.max_bytes,
            "author": put.author.hex(),
            "quota": None if put.quota is None else [put.quota.inserts, put.quota.seconds],
        }
        fields = _packed(entry, entry.checksum(self._secret))
        flat = [part for name, value in fields.items() for part in (name.encode(), value)]
        entry_id, reason = self._run("put", given, entry.scope, entry.exact, *flat)
        return int(entry_id), reason.decode()

    def settle(self, *, used: Sequence[int], doomed: Sequence[int]) -> None:
        """Write down what look-ups found, without a put."""
        self._run("settle", {"used": _times(used), "doomed": list(doomed)})

    def purge(
        self,
        *,
        scope: bytes | None = None,
        created_until: float | None = None,
        labels: Iterable[tuple[str, str]] = (),
        entry_id: int | None = None,
    ) -> int:
        """Remove the entries that meet all conditions given; all entries when none is."""
        given = {
            "entry": entry_id,
            "until_": created_until,
            "labels": [f"{kind}:{label}" for kind, label in labels],
        }
        return int(self._run("purge", given, scope or b""))

    def confirm(self, entry_id: int, principal: bytes) -> int:
        """Note that somebody was given the same answer; how many have been."""
        return int(self._run("confirm", {"entry": entry_id}, principal))

    def confirmations(self, entry_id: int) -> int:
        """How many were given the same answer, each counted once."""
        with self._errors():
            return int(self._client.scard(self._key(f"cf:{entry_id}")))

    def observe(self, observations: Iterable[Observation]) -> None:
        """Keep what was compared."""
        rows = [
            [each.entry_id, each.similarity, int(each.correct), int(each.audit)]
            for each in observations
        ]
        self._run("observe", {"rows": rows})

    def observations(self, after: int = 0) -> list[tuple[int, Observation]]:
        """Everything compared beyond a number, in order, with rising numbers."""
        with self._errors():
            before = int(self._client.hget(self._key("m"), "observed") or 0)
            first = max(0, after - before)
            lines = self._client.lrange(self._key("o"), first, -1)
            return [
                (before + first + 1 + place, _observation(line)) for place, line in enumerate(lines)
            ]

    def observed(self, entry_id: int) -> tuple[Observation, ...]:
        """What was compared for one entry, oldest first."""
        with self._errors():
            lines = self._client.lrange(self._key(f"oe:{entry_id}"), 0, -1)
            return tuple(_observation(line) for line in lines)

    def setting(self, name: str) -> bytes | None:
        """What was kept under a name."""
        with self._errors():
            value: bytes | None = self._client.hget(self._key("k"), name)
        return value

    def set(self, name: str, value: bytes) -> None:
        """Keep something under a name."""
        with self._errors():
            self._client.hset(self._key("k"), name, value)

    def _begun(self) -> bytes | None:
        """What stood there before this."""
        found: bytes | None = self._client.set(self._key("format"), _FORMAT, nx=True, get=True)
        return found

    def _key(self, rest: str) -> bytes:
        return f"{self._prefix}:{rest}".encode()

    def _run(self, script: str, given: dict[str, Any], *more: bytes) -> Any:
        said = {name: value for name, value in given.items() if value is not None}
        with self._errors():
            return self._scripts[script](keys=[self._prefix], args=[json.dumps(said), *more])

    def _checked(self, entry_id: int, values: Sequence[bytes | None]) -> Entry:
        try:
            entry, checksum = _unpacked(entry_id, values)
        except (TypeError, ValueError, struct.error) as error:
            raise DamagedEntry(entry_id) from error
        if entry.checksum(self._secret) != checksum:
            raise DamagedEntry(entry_id)
        return entry

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        errors = self._redis.exceptions
        try:
            yield
        except errors.BusyLoadingError as error:
            raise StoreBusy(f"{self.name}: Redis is still loading its data; try again") from error
        except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
            raise StorageError(
                None, f"{self.name}: Redis does not answer ({error}); is it running?"
            ) from error
        except errors.RedisError as error:
            raise StorageError(None, f"{self.name}: Redis refused: {error}") from error
        except RagoptError:
            raise
        except (TypeError, ValueError) as error:
            raise IndexCorrupt(
                f"{self.name}: the cache is damaged ({error}); delete its keys to start empty"
            ) from error


def _packed(entry: Entry, checksum: bytes) -> dict[str, bytes]:
    """Fields as bytes; numbers as little-endian doubles, so that they come back as they were."""
    return {
        "scope": entry.scope,
        "exact": entry.exact,
        "created": struct.pack("<d", entry.created),
        "expires": struct.pack("<d", math.inf if entry.expires is None else entry.expires),
        "vector": entry.vector or b"",
        "question": entry.question,
        "answer": entry.answer,
        "payload": entry.payload,
        "author": entry.author,
        "usd": struct.pack("<d", math.nan if entry.usd is None else entry.usd),
        "checksum": checksum,
    }


def _unpacked(entry_id: int, values: Sequence[bytes | None]) -> tuple[Entry, bytes]:
    if any(value is None for value in values):
        raise ValueError("a field is missing")
    named = dict(zip(_FIELDS, values, strict=True))
    created, expires, usd = (
        struct.unpack("<d", named[name] or b"")[0] for name in ("created", "expires", "usd")
    )
    entry = Entry(
        scope=named["scope"] or b"",
        exact=named["exact"] or b"",
        created=created,
        expires=None if math.isinf(expires) else expires,
        vector=named["vector"] or None,
        question=named["question"] or b"",
        answer=named["answer"] or b"",
        payload=named["payload"] or b"",
        author=named["author"] or b"",
        usd=None if math.isnan(usd) else usd,
        id=entry_id,
    )
    return entry, named["checksum"] or b""


def _times(used: Sequence[int]) -> dict[str, int]:
    return {str(entry): times for entry, times in Counter(used).items()}


def _observation(line: bytes) -> Observation:
    entry, similarity, correct, audit = json.loads(line)
    return checked_observation(entry, similarity, correct, audit)
