"""Who does what to whom: whether two questions with the same words put them in the same roles.

Bags of words, and most sentence encoders, cannot tell "convert A to B" from "convert B to A" (nine
encoders gave such pairs cosines of .83 to .9997). A plain comparison of word order would refuse
"in place, how do I sort a list" for "how do I sort a list in place", so only these count:

1. Two words exchanged the word of direction before them ("list *to* tuple", "tuple *to* list";
   "with A without B"), one turned from source to destination, or two exchanged the clause of
   condition for the main one ("if A is cancelled, is B").
2. Two words of one clause exchanged places around something that stands between them in both
   ("does A call B"; "is an A a B"), "A and B" excepted. The passive is turned first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from ragopt.cache.guards.lexicon import DIRECTIONS, FILLERS, STOP_WORDS
from ragopt.cache.guards.words import Question, Word, forms, study

__all__ = ["Reversal", "reversed_roles"]

_FAR = 64  # shared words; beyond that, pairs are not gone through one by one
_STUDIED = 4096

_JOINTS = frozenset({"and", "or", "nor", "vs", "versus", "/"})
_BEFORE_VERB = frozenset({"how", "way", "ways", "want", "need", "like", "able", "have", "used"})
_BE = frozenset({"is", "are", "was", "were", "be", "been", "being", "get", "gets", "got"})
_PARTICIPLES = frozenset({"written", "made", "done", "given", "taken", "built", "sent", "held"})
_CONDITIONS = frozenset("if when whenever unless because while once since until".split())
_DETERMINERS = frozenset({"a", "an", "the", "my", "your", "its", "their", "this", "that", "each"})
_NO_OF = frozenset(  # after these, "of" gives no role: "kind of", "some of", "out of"
    """kind kinds type types sort sorts lot lots number amount some any all most many few none each
    both one out because instead regardless couple way ways use""".split()
)
# Taking over one of these roles is enough; "in" and "on", "of" and "for" are as often synonyms.
_STEERING = frozenset("to from than before after over under with without not by against".split())
_ONLY_IN, _ONLY_OUT = frozenset({True}), frozenset({False})


@dataclass(frozen=True, slots=True)
class _Use:
    """What a question makes of one word.

    Args:
        roles: values of `DIRECTIONS`, ``""`` where no word of direction stands before it.
        conditions: whether it stands in a clause of condition, for each time it stands there.
        bare: no word of direction before it where it first stands.
        place: index among the question's words where it first stands.
        clause: number of the clause where it first stands.
    """

    roles: frozenset[str]
    conditions: frozenset[bool]
    bare: bool
    place: int
    clause: int


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A question's words by name (one for all forms of a word), and the use made of each."""

    words: tuple[Word, ...]
    names: tuple[str, ...]
    counts: Counter[str]
    uses: dict[str, _Use]

    def between(self, one: str, other: str) -> slice:
        """What stands between the first places of two words."""
        low, high = sorted((self.uses[one].place, self.uses[other].place))
        return slice(low + 1, high)

    def first(self, one: str, other: str) -> bool:
        """Whether ``one`` stands before ``other``."""
        return self.uses[one].place < self.uses[other].place


@dataclass(frozen=True, slots=True)
class Reversal:
    """The same words in the same roles: "list to tuple" is not "tuple to list"."""

    name: str = "reversal"

    def agrees(self, asked: str, cached: str) -> bool:
        """Whether no two shared words changed roles."""
        return not reversed_roles(asked, cached)


def reversed_roles(asked: str, cached: str) -> bool:
    """Whether words that both questions share stand in exchanged roles.

    Cost: quadratic in the number of shared words up to 64 of them, linear beyond.
    """
    ours, theirs = _sentence(asked), _sentence(cached)
    shared = sorted(ours.uses.keys() & theirs.uses.keys())
    if _exchanged(shared, ours, theirs):
        return True
    bare = [name for name in shared if ours.uses[name].bare and theirs.uses[name].bare]
    if len(bare) > _FAR:
        here, there = (sorted(bare, key=lambda n: of.uses[n].place) for of in (ours, theirs))
        return here != there
    return any(_turned(a, b, ours, theirs) for a, b in combinations(bare, 2))


@lru_cache(maxsize=_STUDIED)
def _sentence(text: str) -> _Sentence:
    words = study(text).words
    names = tuple(_name(word) for word in words)
    found: dict[str, list[tuple[str, bool, int, int]]] = {}
    for place, role, condition in _roles(study(text)):
        at = -1 if role == "by" and _passive(words, place) else place
        use = ("" if at < 0 else role, condition, at, words[place].clause)
        found.setdefault(names[place], []).append(use)
    uses = {name: _use(each) for name, each in found.items()}
    return _Sentence(words, names, Counter(names), uses)


def _use(found: list[tuple[str, bool, int, int]]) -> _Use:
    role, _, place, clause = found[0]
    return _Use(
        roles=frozenset(each[0] for each in found),
        conditions=frozenset(each[1] for each in found),
        bare=not role,
        place=place,
        clause=clause,
    )


def _name(word: Word) -> str:
    """One name for all forms of a word: the shortest."""
    if word.code:
        return word.text
    if word.quoted:
        return word.folded
    return _shortest(word.folded)


@lru_cache(maxsize=1 << 14)
def _shortest(word: str) -> str:
    return min(forms(word), key=lambda form: (len(form), form))


def _roles(question: Question) -> Iterator[tuple[int, str, bool]]:
    """Place, role and whether it is in a condition, of each word with subject matter."""
    role, clause, condition, before = "", -1, False, ""
    for place, word in enumerate(question.words):
        folded = word.folded
        if word.clause != clause:
            role, clause, condition = "", word.clause, False
        condition = condition or folded in _CONDITIONS
        direction = None if word.quoted else DIRECTIONS.get(folded)
        if direction and not (folded == "of" and before in _NO_OF):
            role = "" if folded == "to" and before in _BEFORE_VERB else direction
        elif not direction and not _passed_over(word):
            if _grammar(word):
                role = ""
            else:
                yield place, role, condition
        before = folded


def _passed_over(word: Word) -> bool:
    return word.folded in _JOINTS or (word.folded in _DETERMINERS and not word.entity)


def _grammar(word: Word) -> bool:
    """A word with no subject matter; it ends the phrase before it."""
    plain = word.kind == "word" and not word.entity
    return plain and (word.folded in STOP_WORDS or word.folded in FILLERS)


def _passive(words: tuple[Word, ...], place: int) -> bool:
    """Whether "is ...ed by" stands before the word at ``place``: then it comes first of all."""
    by = place - 1
    while by > 0 and words[by].folded != "by":
        by -= 1
    verb = words[by - 1].folded if by > 0 else ""
    auxiliary = any(word.folded in _BE for word in words[: max(by - 1, 0)])
    return auxiliary and (verb.endswith("ed") or verb in _PARTICIPLES)


def _exchanged(shared: list[str], ours: _Sentence, theirs: _Sentence) -> bool:
    """Rule 1."""
    pairs = {name: (ours.uses[name], theirs.uses[name]) for name in shared}
    if any(_turned_about(mine.roles, other.roles) for mine, other in pairs.values()):
        return True
    steps = {(mine.conditions, other.conditions) for mine, other in pairs.values()}
    if {(_ONLY_IN, _ONLY_OUT), (_ONLY_OUT, _ONLY_IN)} <= steps:
        return True
    moved = [name for name, (mine, other) in pairs.items() if mine.roles != other.roles]
    if len(moved) > _FAR:
        return True
    return any(_traded(a, b, ours, theirs) for a, b in combinations(moved, 2))


def _turned_about(before: frozenset[str], after: frozenset[str]) -> bool:
    lost, gained = before - after, after - before
    return ("to" in lost and "from" in gained) or ("from" in lost and "to" in gained)


def _traded(a: str, b: str, ours: _Sentence, theirs: _Sentence) -> bool:
    """Whether ``a`` took a role of ``b``, or changed with it between bare and steered."""
    a_here, b_here = ours.uses[a], ours.uses[b]
    a_there, b_there = theirs.uses[a], theirs.uses[b]
    a_took = (a_there.roles - a_here.roles) & (b_here.roles - b_there.roles)
    b_took = (b_there.roles - b_here.roles) & (a_here.roles - a_there.roles)
    if (a_took and b_took) or _STEERING & (a_took | b_took):
        return True
    crossed = ours.first(a, b) != theirs.first(a, b)
    return crossed and a_here.bare == b_there.bare != b_here.bare == a_there.bare


def _turned(a: str, b: str, ours: _Sentence, theirs: _Sentence) -> bool:
    """Rule 2, for two bare words."""
    if ours.first(a, b) == theirs.first(a, b):
        return False
    if any(each.uses[a].clause != each.uses[b].clause for each in (ours, theirs)):
        return False
    here, there = ours.between(a, b), theirs.between(a, b)
    pivots = _pivots(here, ours) & _pivots(there, theirs)
    joined = any(word.folded in _JOINTS for word in (*ours.words[here], *theirs.words[there]))
    if pivots or joined:
        return bool(pivots)
    return any(map(_grammar, ours.words[here])) and any(map(_grammar, theirs.words[there]))


def _pivots(between: slice, sentence: _Sentence) -> set[str]:
    """Words with subject matter in between, of those that stand in the question once.

    The second "web" in "web service and web server" is part of a name, nothing in between.
    """
    return {
        name
        for word, name in zip(sentence.words[between], sentence.names[between], strict=True)
        if not _grammar(word) and sentence.counts[name] == 1
    }
