import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragopt.cache import (
    DEFAULT_GUARDS,
    Asking,
    ContentWords,
    Entities,
    Numbers,
    Polarity,
    Reversal,
)


def refusals(asked, cached):
    return {guard.name for guard in DEFAULT_GUARDS if not guard.agrees(asked, cached)}


REWORDINGS = [
    ("How do I sort a list in place?", "in place, how do I sort a list"),
    ("How do I sort a list?", "how can we sort lists"),
    ("How do I sort a list?", "What is the best way to sort a list"),
    ("How do I sort a list?", "Can anyone please tell me how to sort a list?"),
    ("how do I convert a list to a tuple?", "What's the way to convert a list into a tuple"),
    ("list to tuple conversion", "convert list to tuple"),
    ("convert list to tuple", "convert to tuple from list"),
    ("Does A11 call B22?", "Is B22 called by A11?"),
    ("Does json.dumps escape non-ASCII text?", "does `json.dumps` escape non-ASCII text"),
    ("what is dumps in json", "what is json.dumps"),
    ("what's the difference between a list and a tuple", "difference between tuple and list"),
    ("web service vs web server", "difference between a web server and a web service"),
    ("How do I open a file without buffering?", "without buffering, how can I open files"),
    (
        "What does str.split return for an empty string?",
        "What is returned by str.split for an empty string?",
    ),
    ("Why can't I pickle a lambda?", "why can I not pickle lambdas"),
    ("If a file is missing, what does open raise?", "What does open raise if a file is missing?"),
    ("How many bytes are in 5 GB?", "how many bytes are in 5GB"),
    ("Who won 1 billion dollars?", "who won one billion dollars"),
    ("How do I spend 25k?", "how can I spend 25,000"),
    ("what's the max size of int in C++", "What is the maximum size of an int in C++?"),
    ("How do I remove a key from a dict?", "how can I delete a key from a dictionary"),
    ("Is the time zone stored?", "is the timezone stored"),
    ("Whether a girl likes him or not?", "whether a girl likes him"),
    ("Can a helicopter fly upside down and why or why not?", "Can helicopters fly upside down?"),
    ("How do I start a business with no money?", "How can I start a business without money?"),
    ("How do I vote in the United States?", "How can I vote in the US?"),
    ("Is Canadian law older than the United Kingdom?", "Is the law of Canada older than the UK?"),
    ("Which book is best on Islamic history?", "Which book is best on the history of Islam?"),
    ("Was the book written by Orwell?", "Did Orwell write the book?"),
    ("On 5 March 2020 who won?", "who won on March 5, 2020"),
    ('What does "lol" mean?', "what is the meaning of lol"),
]

TRAPS = {
    "numbers": [
        ("What is new in Python 3.1?", "What is new in Python 3.10?"),
        ("Can a 16 year old drive?", "Can a 18 year old drive?"),
        ("How big is 5 GB?", "How big is 5 MB?"),
        ("What happened in March 2020?", "What happened in May 2020?"),
        ("Is $5 enough?", "Is €5 enough?"),
        ("Which hash is sha256?", "Which hash is sha512?"),
        ("Who came second?", "Who came third?"),
        ("What is two plus x?", "What is three plus x?"),
        ("What is 5 percent of it", "What is 50 percent of it"),
        ("What is -1 squared", "What is 1 squared"),
        ("The best of Monday", "The best of Tuesday"),
        ("Is 5 million enough?", "Is 5 billion enough?"),
    ],
    "polarity": [
        ("How do I enable logging?", "How do I disable logging?"),
        ("How do I open a file with buffering?", "How do I open a file without buffering?"),
        ("Why is Tokyo the centre?", "Why is Tokyo not the centre?"),
        ("Can I do it?", "Can't I do it?"),
        ("What is the first item?", "What is the last item?"),
        ("sort in ascending order", "sort in descending order"),
        ("What is a mutable type?", "What is an immutable type?"),
        ("Is the queue blocking?", "Is the queue non-blocking?"),
        ("How do I install it?", "How do I uninstall it?"),
        ("Does it run when the flag is true?", "Does it run when the flag is false?"),
        ("Does json load read files?", "Does json loads read files?"),
        ("What does sort return?", "What does sorted return?"),
        ("Who will win the cup?", "Who did win the cup?"),
        ("import a certificate", "export a certificate"),
        ("read from a socket", "write to a socket"),
        ("What are the pros of it?", "What are the cons of it?"),
        ("Which is the largest planet?", "Which is the smallest planet?"),
        ("arguments for it", "arguments against it"),
        ("Is it never copied?", "Is it always copied?"),
    ],
    "entities": [
        ("What does --foo do?", "What does --bar do?"),
        ("What does -O do?", "What does -o do?"),
        ("What does os.path.join do?", "What does os.path.split do?"),
        ("What does // do?", "What does / do?"),
        ("a == b", "a != b"),
        (r"What does \U mean?", r"What does \u mean?"),
        ("What is `List`?", "What is `list`?"),
        ("What is max_size?", "What is min_size?"),
        ("What does FooBar do?", "What does FooBaz do?"),
        ("Who governs Georgia?", "Who governs Alabama?"),
        ('What does "lol" mean?', 'What does "rofl" mean?'),
        ("How do I open a .py file?", "How do I open a .js file?"),
        ("What is [] in it?", "What is {} in it?"),
        ("What is used by C++ code?", "What is used by C# code?"),
    ],
    "reversal": [
        ("convert celsius to fahrenheit", "convert fahrenheit to celsius"),
        ("How do I get a tuple from a list?", "How do I get a list from a tuple?"),
        ("How do I get a tuple from a list?", "How do I get a tuple to a list?"),
        ("Does list call tuple?", "Does tuple call list?"),
        ("Is every list a tuple?", "Is every tuple a list?"),
        ("Can cats eat dogs?", "Can dogs eat cats?"),
        ("a list of dicts", "a dict of lists"),
        ("Is Java faster than Rust?", "Is Rust faster than Java?"),
        ("subtract 5 from 3", "subtract 3 from 5"),
        ("sorting with keys without values", "sorting with values without keys"),
        ("Can I sort before filtering?", "Can I filter before sorting?"),
        ("str rather than bytes", "bytes rather than str"),
        ("If reading fails, is writing stopped?", "If writing is stopped, is reading failing?"),
        ("Is the client called by the server?", "Is the server called by the client?"),
        ("Do men understand women?", "Do women understand men?"),
        ("What share of smokers are drinkers?", "What share of drinkers are smokers?"),
        ("Can I work in India from abroad?", "Can I work abroad from India?"),
        ("migrate to Postgres", "migrate from Postgres"),
    ],
    "asking": [
        ("Why do deer make sounds?", "How do deer make sounds?"),
        ("When did pigeons become extinct?", "Why did pigeons become extinct?"),
        ("Where is the republic?", "When is the republic?"),
        ("How many bytes does it use?", "How does it use bytes?"),
        ("Is Tokyo big?", "Why is Tokyo big?"),
        ("Can I call it twice?", "Must I call it twice?"),
    ],
    "content_words": [
        ("What does heapq do?", "What does bisect do?"),
        ("What does append return?", "What does extend return?"),
        ("How do I sort a list?", "How do I sort a list of numbers?"),
        ("How do I rename a file?", "How do I copy a file?"),
        ("How are you?", "Who are you?"),
    ],
}
BY_GUARD = [(name, *pair) for name, pairs in TRAPS.items() for pair in pairs]


@pytest.mark.parametrize(("asked", "cached"), REWORDINGS)
def test_rewordings_pass_every_guard(asked, cached):
    assert refusals(asked, cached) == set()
    assert refusals(cached, asked) == set()


@pytest.mark.parametrize(("name", "asked", "cached"), BY_GUARD)
def test_each_trap_is_refused_by_the_guard_made_for_it(name, asked, cached):
    assert name in refusals(asked, cached)
    assert name in refusals(cached, asked)


questions = st.sampled_from([text for pair in REWORDINGS for text in pair]) | st.text(max_size=60)


@given(questions)
def test_a_question_agrees_with_itself(question):
    assert refusals(question, question) == set()


@given(questions, questions)
def test_guards_are_symmetric(one, other):
    assert refusals(one, other) == refusals(other, one)


words = st.sampled_from("list tuple parser socket folder thread image river".split())


@given(
    st.permutations("list tuple parser socket folder thread".split()),
    st.sampled_from(["to", "from", "than", "before", "without"]),
)
def test_two_phrases_that_change_places_around_a_word_of_direction_are_refused(names, direction):
    first, second, verb = names[:3]
    one = f"{verb} {first} {direction} {second}"
    other = f"{verb} {second} {direction} {first}"
    assert not Reversal().agrees(one, other)


@given(words, words, st.sampled_from(["read", "close", "copy"]))
def test_a_swapped_content_word_is_refused(one, other, verb):
    agrees = ContentWords().agrees(f"how do I {verb} a {one}", f"how do I {verb} a {other}")
    assert agrees == (one == other)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_agree_when_they_are_equal(one, other):
    asked, cached = f"who has {one} apples", f"who has {other:,} apples"
    assert Numbers().agrees(asked, cached) == (one == other)


def test_additions_are_allowed_on_one_side_only():
    one = ContentWords(additions=1)
    assert one.agrees("sort a list", "sort a list backwards")
    assert one.agrees("sort a list backwards", "sort a list")
    assert not one.agrees("sort a list backwards", "sort a list lazily")
    assert not one.agrees("sort a list", "sort a list lazily backwards")
    assert not ContentWords().agrees("sort a list", "sort a list backwards")


def test_a_number_without_its_unit_is_not_another_number():
    assert Numbers().agrees("Which laptop under 25000?", "Which laptop under 25000 INR?")
    assert not Numbers().agrees("Which laptop under 25000 USD?", "Which laptop under 25000 INR?")


def test_one_sided_names_are_left_to_the_content_words():
    asked, cached = "Why does everyone hate Trump?", "Why does everyone hate Donald Trump?"
    assert Entities().agrees(asked, cached)
    assert not ContentWords().agrees(asked, cached)


def test_key_words_without_a_question_word_ask_for_anything():
    assert Asking().agrees("deer sounds", "why do deer make sounds")
    assert Asking().agrees("where and how can I learn it", "where can I learn it")


def test_opposites_in_both_questions_agree():
    text = "when do I use enable and when disable"
    assert Polarity().agrees(text, "disable or enable: when to use which")


def test_long_questions_are_compared_too():
    body = ", ".join(f"word{n} to thing{n}" for n in range(300))
    asked = f"summarise {body}"
    assert refusals(asked, f"please {asked}") == set()
    assert refusals(asked, asked.replace("word7 to thing7", "thing7 to word7")) == {"reversal"}


def test_guards_are_values():
    assert ContentWords(additions=2) == ContentWords(additions=2)
    assert ContentWords(additions=2) != ContentWords()
    assert Numbers(name="figures").name == "figures"
