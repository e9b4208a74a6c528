"""Work done ahead in threads, and handed over in order."""

import os
import threading
import time

import pytest

from seedsweep import cores
from seedsweep.data.threads import in_order, load_and_compute


def test_batches_come_in_order():
    def slow_at_first(some: list[int]) -> list[int]:
        time.sleep(0.02 if some[0] < 4 else 0)
        return [item * 10 for item in some]

    found = list(load_and_compute(list(range(11)), slow_at_first, 4, sum, 2))
    assert found == [
        ([0, 1, 2, 3], [0, 10, 20, 30], 60),
        ([4, 5, 6, 7], [40, 50, 60, 70], 220),
        ([8, 9, 10], [80, 90, 100], 270),
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
    inside: list[int] = []
    most: list[int] = []

    def work(item: int) -> int:
        inside.append(item)
        most.append(len(inside))
        both.wait()
        inside.remove(item)
        return item

    assert [item for item, _ in in_order(range(6), work, 2, 6)] == list(range(6))
    assert max(most) == 2


@pytest.mark.parametrize("where", ["work", "items", "consumer"])
def test_an_error_comes_after_the_results_before_it(where: str):
    handed: list[int] = []

    def items():
        for item in range(100):
            if where == "items" and item == 5:
                raise ValueError("of the items")
            yield item

    def work(item: int) -> int:
        if where == "work" and item == 5:
            raise ValueError("of the work")
        return item

    def consume() -> None:
        for item, _ in in_order(items(), work, 2, 4):
            if where == "consumer" and item == 5:
                raise ValueError("of the consumer")
            handed.append(item)

    with pytest.raises(ValueError, match=f"of the {where}"):
        consume()
    assert handed == [0, 1, 2, 3, 4]


def test_what_nobody_waits_for_is_not_begun():
    begun: list[int] = []
    inside, second = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            inside.set()
            second.wait(10)
        return item

    def stopped() -> None:
        for _ in in_order(range(100), work, 1, 6):
            assert inside.wait(10)
            threading.Timer(0.05, second.set).start()  # after the error
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert begun == [0, 1], "six waited, and one was under way"


@pytest.mark.parametrize(
    ("given", "loops"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_sleep_unless_the_user_said_otherwise(
    given: dict[str, str], loops: str | None, monkeypatch: pytest.MonkeyPatch
):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cores.wait_asleep()
    assert os.environ.get("GOMP_SPINCOUNT") == loops
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
