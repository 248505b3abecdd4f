"""What nodes tell each other of their alerts: what is written is read, and what is odd is nothing."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.room.gathering import MOST_ALERTS, Shown
from knoop.xmpp.announce import element, read

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
instants = st.none() | st.integers(0, 4_000_000_000).map(lambda second: second * 1_000_000_000)


def stanza(inner):
    return ET.fromstring(f"<presence xmlns='jabber:client'>{inner}</presence>")


@given(
    st.dictionaries(
        st.tuples(names, st.sampled_from(["raised", "acknowledged", "cleared"])),
        st.builds(Shown, at_ns=instants, said=st.booleans()), max_size=MOST_ALERTS,
    )
)  # fmt: skip
def test_what_is_written_is_read(shown):
    presence = ET.Element("{jabber:client}presence")
    presence.append(element(shown))
    assert read(presence) == shown


def test_it_looks_as_the_page_on_the_wire_says():
    written = element({("frost", "raised"): Shown(at_ns=1_795_348_800_000_000_000)}, {"frost": "critical"})
    (alert,) = written
    assert (written.tag, alert.tag) == ("{urn:knoop:1:room}alerts", "{urn:knoop:1:room}alert")
    assert alert.attrib == {"name": "frost", "severity": "critical", "since": "2026-11-22T12:00:00Z"}
    (over,) = element({("frost", "cleared"): Shown(said=True)})
    assert over.attrib == {"name": "frost", "is": "cleared", "said": "true"}


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<alerts><alert name='frost'/></alerts>",
        "<alerts xmlns='urn:knoop:1:room'/>",
        "<alerts xmlns='urn:knoop:1:room'><alert/></alerts>",
        "<alerts xmlns='urn:knoop:1:room'><other name='frost'/></alerts>",
        f"<alerts xmlns='urn:knoop:1:room'><alert name='{'x' * 65}'/></alerts>",
        f"<alerts xmlns='urn:knoop:1:room'><alert name='frost' is='{'x' * 65}'/></alerts>",
        "<x xmlns='y'><alerts xmlns='urn:knoop:1:room'><alert name='frost'/></alerts></x>",
    ],
)
def test_what_is_odd_is_nothing(inner):
    assert read(stanza(inner)) == {}


def test_it_is_bounded():
    many = "".join(f"<alert name='a{number}'/>" for number in range(1000))
    assert len(read(stanza(f"<alerts xmlns='urn:knoop:1:room'>{many}</alerts>"))) == MOST_ALERTS


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01T00:00:00Z", "", "0000-00-00T00:00:00Z"])
def test_a_time_that_is_none_is_not_known(since):
    told = read(stanza(f"<alerts xmlns='urn:knoop:1:room'><alert name='frost' since='{since}'/></alerts>"))
    assert told == {("frost", "raised"): Shown()}
