"""A book agrees with a plain dictionary, however it is looked at in between."""

from hypothesis import given
from hypothesis import strategies as st

from engine.book import Book

levels = st.tuples(st.sampled_from([1, -1]), st.integers(1, 12), st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0]))
steps = st.lists(st.one_of(levels, st.sampled_from(["look", "clear"])), max_size=80)


@given(steps, st.integers(1, 15))
def test_a_book_agrees_with_a_plain_dictionary(steps: list[object], depth: int) -> None:
    book, plain = Book(), {1: dict[float, float](), -1: dict[float, float]()}

    for step in [*steps, "look"]:
        if step == "clear":
            book.clear()
            plain = {1: {}, -1: {}}
        elif step == "look":
            assert book.bids(depth) == tuple(sorted(plain[1].items(), reverse=True)[:depth])
            assert book.asks(depth) == tuple(sorted(plain[-1].items())[:depth])
        else:
            side, price, size = step  # type: ignore[misc]  # a level
            book.put(side, float(price), size)
            plain[side].pop(float(price), None)
            if size:
                plain[side][float(price)] = size


def test_removing_an_unknown_level_is_normal() -> None:
    book = Book()

    book.put(1, 99.0, 0.0)

    assert book.bids(10) == ()


def test_a_depth_of_nothing_shows_nothing() -> None:
    book = Book()
    book.put(1, 99.0, 1.0)
    book.put(-1, 101.0, 1.0)

    assert (book.bids(0), book.asks(0)) == ((), ())
