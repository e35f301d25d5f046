from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from extrecon.call.request import Request
from extrecon.options import Options, resolve

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
values = st.one_of(
    st.text(max_size=9), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)


@given(names, st.dictionaries(names, values, max_size=4))
def test_a_request_crosses_a_socket_whole(name: str, settings: dict[str, str | float | bool]) -> None:
    given_options = resolve({"regularizer": "cnn", "threads": 3}, [], {}, None, Path("/nowhere"))
    options = Options(given_options.values, settings, given_options.origins, ["a sentence"])
    request = Request(Path(name), options, Path("/data", name))
    message = json.loads(json.dumps(request.to_message() | {"verb": "run"}))
    found = Request.from_message(message)
    assert found == request
    assert found.to_message() == request.to_message()


def test_an_absolute_path_stays_and_a_relative_one_counts_from_the_working_directory() -> None:
    options = Options({})
    assert Request(Path("job/a.star"), options, Path("/data")).absolute.star == Path("/data/job/a.star")
    assert Request(Path("/b/a.star"), options, Path("/data")).absolute.star == Path("/b/a.star")
