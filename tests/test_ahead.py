"""Work done ahead in threads, and handed over in order."""

import threading
import time

import pytest

from seedsweep.data.ahead import ahead, in_order


def test_batches_come_in_order():
    def slow_at_first(some: list[int]) -> list[int]:
        time.sleep(0.02 if some[0] < 4 else 0)
        return [item * 10 for item in some]

    found = list(ahead(list(range(11)), slow_at_first, 4))
    assert found == [
        ([0, 1, 2, 3], [0, 10, 20, 30]),
        ([4, 5, 6, 7], [40, 50, 60, 70]),
        ([8, 9, 10], [80, 90, 100]),
    ]


def test_no_more_is_taken_than_may_wait():
    taken: list[int] = []

    def items():
        for item in range(9):
            taken.append(item)
            yield item

    results = in_order(items(), lambda item: item, 2, 3)
    assert next(results) == (0, 0)
    assert len(taken) == 4, "three waited; one more was begun for the one handed over"
    assert list(results) == [(item, item) for item in range(1, 9)]


def test_calls_run_at_the_same_time_and_no_more_than_asked_for():
    both = threading.Barrier(2, timeout=10)  # breaks if one waits for the other

    def work(item: int) -> int:
        both.wait()
        return item

    assert [item for item, _ in in_order(range(6), work, 2, 2)] == list(range(6))


@pytest.mark.parametrize("where", ["work", "items", "consumer"])
def test_an_error_ends_it_and_what_waits_is_not_begun(where: str):
    begun: list[int] = []

    def items():
        for item in range(100):
            if where == "items" and item == 5:
                raise ValueError("of the items")
            yield item

    def work(item: int) -> int:
        begun.append(item)
        if where == "work" and item == 5:
            raise ValueError("of the work")
        return item

    def consume() -> None:
        for item, _ in in_order(items(), work, 2, 4):
            if where == "consumer" and item == 5:
                raise ValueError("of the consumer")

    with pytest.raises(ValueError, match=f"of the {where}"):
        consume()
    assert len(begun) <= 10
    assert threading.active_count() < 10
