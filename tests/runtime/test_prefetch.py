from __future__ import annotations

import threading

import pytest

from electra_cli.runtime.prefetch import ahead


def test_order_is_kept_and_the_thread_ends() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))
    assert list(ahead([None, None], depth=1)) == [None, None]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_are_prepared_before_they_are_asked_for() -> None:
    begun = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(begun):
            event.set()
            yield number

    waiting = ahead(items(), depth=2)
    assert next(waiting) == 0
    assert begun[1].wait(5) and begun[2].wait(5)
    assert list(waiting) == [1, 2]


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items():
        yield 1
        raise OSError("torn")

    waiting = ahead(items(), depth=4)
    assert next(waiting) == 1
    with pytest.raises(OSError, match="torn"):
        next(waiting)


def test_closing_early_ends_the_thread_though_the_queue_is_full() -> None:
    waiting = ahead(iter(int, 1), depth=2)  # endless zeros
    assert next(waiting) == 0
    waiting.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
