r"""Questions cut into words, as the guards compare them.

`study` is a lexer and a light stemmer, not a parser: it must treat alike what people write in many
ways ("don't", "do not"; "data base", "database"; "running", "run"), and keep apart what differs in
one character (``\U`` and ``\u``, ``C`` and ``C++``, ``3.1`` and ``3.10``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from ragopt.cache.guards.lexicon import FILLERS, IRREGULARS, NEGATORS, STOP_WORDS, SYNONYMS

__all__ = ["Question", "Word", "forms", "parts", "study"]

_STUDIED = 4096  # questions kept cut up: an entry is compared again and again
_SHORTEST_STEM = 3

_LEXER = re.compile(
    r"""
      (?P<tick>(?<!`)`+[^`]+`+)
    | (?P<quote>"{1,3}[^"\n]+"{1,3} | ""(?!\w) | (?<![\w)\]])(?:'{1,3}[^'\n]+'{1,3}|'')(?!\w))
    | (?P<escape>\\[A-Za-z]+)
    | (?P<flag>(?<![\w-])--[A-Za-z][\w-]* | (?<![\w-])-[A-Za-z](?![\w-]))
    | (?P<dotted>(?:[^\W\d]\w*(?:\.|::|->))+[^\W\d]\w* | (?<!\w)\.[A-Za-z]\w{0,4}\b)
    | (?P<path>(?<!\w)[~.]{0,2}/\w[\w./-]*)
    | (?P<number>(?:(?<![\w.)\]-])[-+])?(?<![\w.])\d[\d,]*(?:\.\d+)*(?=[a-zA-Z%°]*\b|\W|$))
    | (?P<word>\w+(?:'[^\W\d_]+)?(?:\+\+|\#(?!\w))?)
    | (?P<arrow>->|=>|→)
    | (?P<empty>(?<![\w)\]])(?:\(\)|\[\]|\{\}))
    | (?P<symbol>[$%€£₹¥°])
    | (?P<operator>[-+*/%=<>!&|^~@:\\]{2,} | [+*=<>^~@|\\&] | (?<!\w)[/%]
        | (?<!\w)-(?=\w|\s(?:operator|sign|symbol)))
    | (?P<stop>[.?!,;:…]{1,64}(?=\s|$) | [\u2014\u2013] | (?<=\s)-+(?=\s) | (?<=\s)\()
    """,
    re.VERBOSE,
)
_QUOTES = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2033": '"',
        "\u2212": "-", "\u00a0": " ",
    }
)  # fmt: skip
_INITIALS = re.compile(r"\b(?:[A-Za-z]\.)+[A-Za-z](?:\.|\b)(?!\w)")
_NUMBERED = re.compile(r"\A\s*\(?\d{1,2}[.)]\s+|(?<=[?.!])\s*\*+\s*\Z")
_LONG_QUOTE = 3  # words; a longer quotation is a sentence, not a term
_SUFFIXED = frozenset({"k", "m", "bn", "st", "nd", "rd", "th"})  # "25k", "3rd"
_LITERALS = frozenset({"None", "True", "False"})


@dataclass(slots=True)
class Word:
    """One word of a question; never changed.

    Not frozen, which would take four times as long to make: questions share their words.

    Args:
        text: as written, without quotes and backticks around it.
        kind: which rule of the lexer found it.
        code: written as code; case counts between two such words.
        quoted: inside quotes or backticks; never a mere word of grammar.
        name: written with a capital where a common word would have none.
        clause: number of the clause it stands in.

    Attributes:
        folded: `text` without distinction of case.
        entity: it names one thing and no other: an identifier, an operator, a proper name.
        content: it carries subject matter.
    """

    text: str
    kind: str
    code: bool
    quoted: bool
    name: bool
    clause: int

    folded: str = field(init=False, repr=False)
    entity: bool = field(init=False, repr=False)
    content: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        folded = self.text.casefold()
        entity = self.name or self.code or self.quoted or self.kind in _EXACT
        plain = folded in STOP_WORDS or folded in FILLERS
        self.folded = folded
        self.entity = entity
        self.content = entity or (self.kind == "word" and not plain)


_EXACT = frozenset({"escape", "flag", "dotted", "path", "operator", "empty", "tick", "quote"})
_WORDS = 1 << 14  # kept: most words of a question stood in others


_word = lru_cache(maxsize=_WORDS)(Word)


@dataclass(frozen=True)
class Question:
    """A question cut up. `words` are in order; what stops a clause is not among them."""

    text: str
    words: tuple[Word, ...]

    @cached_property
    def surface(self) -> frozenset[str]:
        """Every word as written, without distinction of case, and neighbours joined."""
        folded = [word.folded for word in self.words]
        return frozenset(folded).union(map(str.__add__, folded, folded[1:]))

    @cached_property
    def forms(self) -> frozenset[str]:
        """Every form of every word, and of neighbours joined."""
        return frozenset().union(*map(forms, self.surface))

    @cached_property
    def exact(self) -> frozenset[str]:
        """Words written as code, with their case."""
        return frozenset(word.text for word in self.words if word.code)

    @cached_property
    def exact_folded(self) -> frozenset[str]:
        """The same without distinction of case."""
        return frozenset(word.folded for word in self.words if word.code)

    @cached_property
    def pieces(self) -> frozenset[str]:
        """Every word as written, and the words that identifiers are made of."""
        return self.surface.union(*(parts(word.text) for word in self.words if word.code))


@lru_cache(maxsize=1 << 16)
def forms(word: str) -> frozenset[str]:
    """The word, what it may be an inflection of, and the heads of their synonyms.

    Two words match when their forms meet. Cheaper and safer than one stem per word: "planned" has
    the form "plan" and "planes" the form "plane", yet nothing joins "plan" and "plane".
    """
    found = {word, _american(word)}
    found |= {IRREGULARS[form] for form in tuple(found) if form in IRREGULARS}
    for form in tuple(found):
        found.update(_bases(form))
    found |= {IRREGULARS[form] for form in tuple(found) if form in IRREGULARS}
    return frozenset(found | {SYNONYMS[form] for form in found if form in SYNONYMS})


def _american(word: str) -> str:
    if "is" not in word and "our" not in word:
        return word
    for british, american in (("isation", "ization"), ("ising", "izing"), ("ised", "ized")):
        if word.endswith(british):
            return word.removesuffix(british) + american
    if word.endswith("ise") and len(word) > 6:
        return word[:-2] + "ze"
    return word.replace("our", "or") if "our" in word and len(word) > 5 else word


def _bases(word: str) -> set[str]:
    """What ``word`` may be an inflection of, by its ending."""
    found: set[str] = set()
    if word[-1:] not in _ENDINGS:
        return found
    if word.endswith(("'s", "s'")):
        word = word.rstrip("s").rstrip("'")
        found.add(word)
    if not word.isalpha():
        return found
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    if word.endswith(("xes", "ches", "shes", "ses", "zes", "oes")):
        found.add(word[:-2])
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        found.add(word[:-1])
    if word.endswith("ian"):
        found.add(word[:-1])
    if word.endswith("ied"):
        found.add(word[:-3] + "y")
    for suffix, shortest, endings in _SUFFIXES.get(word[-1:], ()):
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < shortest or not _VOWEL.search(stem):
            continue
        found.update(stem + ending for ending in endings)
        if stem[-1] == stem[-2] and suffix in ("ing", "ed"):
            found.add(stem[:-1])
    plurals = [form for form in found if form.endswith("ing")]
    for form in plurals:
        found |= _bases(form)
    return {form for form in found if len(form) >= _SHORTEST_STEM}


_VOWEL = re.compile(r"[aeiouy]")
_SUFFIXES: dict[
    str, list[tuple[str, int, tuple[str, ...]]]
] = {  # by the last letter: ending, shortest stem, what may have stood there
    "g": [("ing", 2, ("", "e"))],
    "d": [("ed", 2, ("", "e"))],
    "y": [("ly", 4, ("", "le")), ("ally", 4, ("", "al"))],
    "n": [("ation", 4, ("", "e", "ate")), ("ion", 5, ("", "e"))],
    "t": [("ment", 6, ("",))],
    "s": [
        ("ations", 4, ("", "e", "ate")),
        ("ions", 5, ("", "e")),
        ("ments", 6, ("",)),
    ],
}
_ENDINGS = frozenset({*_SUFFIXES, "'"})  # last letters of all inflections


@lru_cache(maxsize=_STUDIED)
def study(text: str) -> Question:
    """Cut a question into words.

    Cost: some 40 us the first time, 8 where there are letters and blanks and nothing else, and
    nothing for the last 4,096 questions seen again. Medians over Quora's questions.
    """
    short = _shortened(text)
    words = _apart(short) if _PLAIN.fullmatch(short) else _cut(_tidy(short))
    return Question(text, tuple(_with_names(words)))


def _shortened(text: str) -> str:
    """The text with the names of two countries in the one word that they mostly go by."""
    if "nited " not in text:
        return text
    return _UNITED.sub(lambda match: "UK" if match[1].lower() == "kingdom" else "USA", text)


_UNITED = re.compile(r"\b[Uu]nited (States(?: of America)?|states|[Kk]ingdom)\b")


def _tidy(text: str) -> str:
    plain = text.translate(_QUOTES)
    plain = _INITIALS.sub(lambda match: match[0].replace(".", "") + " ", plain)
    return _NUMBERED.sub("", plain)


_PLAIN = re.compile(r"[A-Za-z ]+\??")


def _apart(text: str) -> list[Word]:
    """What `_cut` finds in a text of letters and blanks, in a quarter of the time."""
    found = text.rstrip("?").split()
    if "US" in found and not text.isupper():
        found = ["USA" if word == "US" else word for word in found]
    return [_word(word, "word", False, False, False, 0) for word in found]


def _cut(text: str, *, quoted: bool = False, code: bool = False, clause: int = 0) -> list[Word]:
    words: list[Word] = []
    for match in _LEXER.finditer(text):
        kind = match.lastgroup or "word"
        found = match[0]
        if kind == "stop":
            clause += 1
        elif kind in ("tick", "quote"):
            inner = found.strip("`" if kind == "tick" else found[0])
            inside = _cut(inner, quoted=True, code=kind == "tick", clause=clause)
            if kind == "quote" and len(inside) > _LONG_QUOTE:
                inside = _cut(inner, quoted=False, code=False, clause=clause)
            words += inside or [_word(inner, kind, code, True, False, clause)]
        elif kind == "word" and "'" in found and not quoted:
            words += _contraction(found, clause)
        else:
            called = text.startswith("(", match.end()) and kind == "word"
            coded = code or called or kind in _CODED or "_" in found.strip("_")
            if found == "&":
                found, kind, coded = "and", "word", False
            elif found == "US" and not text.isupper():
                found = "USA"
            if found.lower() in _SUFFIXED and words and text[match.start() - 1].isdigit():
                kind = "suffix"
            words.append(_word(found, kind, coded, quoted, False, clause))
    return words


_CODED = frozenset({"escape", "flag", "dotted", "path", "operator", "empty"})


def _contraction(word: str, clause: int) -> list[Word]:
    """Cut "don't" into "do" and "not", and "list's" into "list"."""
    if word.lower() in ("can't", "won't", "shan't"):
        stem, rest = {"c": "can", "w": "will", "s": "shall"}[word[0].lower()], "not"
    elif word.lower().endswith("n't"):
        stem, rest = word[:-3], "not"
    else:
        stem, _, rest = word.partition("'")
        rest = rest if rest.lower() in ("s", "re", "ve", "ll", "d", "m") else ""
    return [_word(part, "word", False, False, False, clause) for part in (stem, rest) if part]


def _with_names(words: list[Word]) -> list[Word]:
    """Mark the proper names: capitals where no clause begins."""
    marked = []
    clause = None
    for word in words:
        name = _is_name(word, opens=word.clause != clause)
        clause = word.clause
        marked.append(
            _word(word.text, word.kind, word.code, word.quoted, True, clause) if name else word
        )
    return marked


def _is_name(word: Word, *, opens: bool) -> bool:
    text, folded = word.text, word.folded
    if word.kind != "word" or text in (folded, "I"):
        return False
    shout = text.isupper() and not opens and folded not in NEGATORS
    common = folded in STOP_WORDS or folded in FILLERS
    if common and text not in _LITERALS and not shout:
        return False
    return not opens or text[1:].lower() != text[1:]


@lru_cache(maxsize=1 << 14)
def parts(word: str) -> frozenset[str]:
    """The words an identifier is made of: ``str.rsplit`` gives ``str`` and ``rsplit``."""
    return frozenset(part.casefold() for part in re.split(r"[\W_]+", word) if part)
