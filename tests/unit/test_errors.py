"""The tree in the docstring is the tree in the code."""

import inspect
import re

import worker.errors
from worker.errors import InputError, PathlaneError, TransientError


def classes():
    return [c for _, c in inspect.getmembers(worker.errors, inspect.isclass) if issubclass(c, PathlaneError)]


def test_the_drawn_tree_is_the_real_one():
    drawn = {}
    stack = []
    for line in worker.errors.__doc__.splitlines():
        found = re.match(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)", line)
        if found:
            depth = len(found[1]) // 4
            stack[depth:] = [found[2]]
            drawn[found[2]] = stack[depth - 1] if depth else None
    assert drawn == {c.__name__: None if c is PathlaneError else c.__base__.__name__ for c in classes()}


def test_every_error_has_a_code_of_its_own_and_a_sentence_for_the_caller():
    codes = [c.code for c in classes()]
    assert len(set(codes)) == len(codes)
    assert all(c.__doc__.strip().endswith((".", "`.")) for c in classes())


def test_an_input_error_is_never_retried_and_a_transient_one_always():
    assert not [c for c in classes() if issubclass(c, InputError) and c.retryable]
    assert not [c for c in classes() if issubclass(c, TransientError) and not c.retryable]
