"""Where statements and values stand in a TOML text: cut out, each is what TOML says it is."""

import tomllib

import pytest

from knoop_hw.locate import spans_of

TEXT = """\
version = 1 # one
[a."b c"]  # a header
x = "é\\" # no comment"
y.z = [1, [2, 'three'],
  { four = 4, five = '''
five''' }]
when = 1979-05-27 07:32:00Z
[[many]]
k = -0.5e3
[[many]]
k = true
"""


def at(data, place):
    for part in place:
        data = data[part]
    return data


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), TEXT.rstrip("\n")])
def test_every_value_cut_out_is_the_value(text):
    data = tomllib.loads(text)
    _, values = spans_of(text)
    cut = {place: tomllib.loads(f"v = {text[start:end]}")["v"] for place, (start, end) in values.items()}
    assert cut == {place: at(data, place) for place in values}
    assert {("version",), ("a", "b c", "x"), ("a", "b c", "y", "z", 2, "five"), ("many", 1, "k")} <= cut.keys()


def test_statements_follow_one_another_and_leave_nothing_but_comments():
    statements, _ = spans_of(TEXT)
    assert [one.place for one in statements if one.header] == [("a", "b c"), ("many", 0), ("many", 1)]
    left, end = "", 0
    for one in statements:
        left, end = left + TEXT[end : one.start], one.end
    assert tomllib.loads(left + TEXT[end:]) == {}
    assert tomllib.loads("\n".join(TEXT[one.start : one.end] for one in statements)) == tomllib.loads(TEXT)
