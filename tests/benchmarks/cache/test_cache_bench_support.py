"""The measurement of the recheck, on a set small enough to count by hand."""

from ragopt.benchmarks.cache.support import FLOORS, Case, chosen_floor, measure, shares

CITIES = "Paris Rome Berlin Madrid Lisbon Vienna Prague Warsaw Athens Dublin Oslo Helsinki".split()


def cases(answer):
    return [
        Case(
            f"When was the {city} archive founded?",
            answer(city, year),
            (f"The {city} archive was founded in {year}. It keeps {city} papers.",),
        )
        for year, city in enumerate(CITIES, start=1800)
    ]


def test_answers_are_kept_by_their_own_passages_and_stopped_without():
    checked = measure(cases(lambda city, year: f"The {city} archive was founded in {year}."))
    found = shares(checked, 0.7)
    assert found.answers == len(CITIES)
    assert (found.kept, found.stale, found.alike_elsewhere) == (1.0, 1.0, 1.0)


def test_what_stands_everywhere_is_never_stopped():
    checked = measure(cases(lambda city, year: "An archive keeps papers."))
    found = shares(checked, 1.0)
    assert (found.kept, found.stale, found.alike) == (1.0, 0.0, 0.0)


def test_the_floor_is_one_of_the_grid_and_parts_best():
    checked = measure(cases(lambda city, year: f"The {city} archive keeps papers."))
    floor = chosen_floor({"one": checked})
    assert floor in FLOORS
    best = shares(checked, floor)
    assert all(
        best.kept + best.stale >= each.kept + each.stale
        for each in (shares(checked, other) for other in FLOORS)
    )
