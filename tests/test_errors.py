from __future__ import annotations

import extrecon.errors
from extrecon.errors import ExtreconError


def all_errors() -> list[type[ExtreconError]]:
    return [e for e in vars(extrecon.errors).values() if isinstance(e, type) and issubclass(e, ExtreconError)]


def test_each_error_is_drawn_in_the_tree_with_its_exit_code() -> None:
    assert extrecon.errors.__doc__ is not None
    drawn = {}
    for line in extrecon.errors.__doc__.splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if len(words) > 1 and words[0].endswith("Error"):
            drawn[words[0]] = int(words[1])
    assert drawn == {error.__name__: error.exit_code for error in all_errors()}


def test_exit_codes_stay_clear_of_success_and_signals() -> None:
    assert all(0 < error.exit_code < 64 for error in all_errors())
