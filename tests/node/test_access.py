"""Rights: default deny, prepared addresses, and a chat that can only narrow what the file says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.access import EVERYBODY, Access, Person, Role
from knoop.jid import Jid

ANNA, BRAM, CLEO = (Jid(name, "example.org") for name in ("anna", "bram", "cleo"))
OWNER = Person(jid=ANNA, role=Role.OWNER, name="Anna")
VIEWER = Person(jid=BRAM, role=Role.VIEWER, only=("door", "air"))


def grant(jid: Jid, role: Role, *only: str) -> Person:
    return Person(jid=jid, role=role, only=only)


def may(access: Access, jid: Jid, needed: Role, channel: str | None = None) -> bool:
    """Whether a verb that needs this role is run for them, and about this channel."""
    person = access.person(jid)
    return person is not None and person.role >= needed and (channel is None or person.reads(channel))


def test_roles_are_ordered_and_found_by_their_words():
    assert Role.NONE < Role.VIEWER < Role.OPERATOR < Role.OWNER
    assert Role.parse("Operator") is Role.OPERATOR
    assert str(Role.OWNER) == "owner"
    with pytest.raises(ValueError, match="unknown role 'boss'; expected one of viewer, operator, owner"):
        Role.parse("boss")


def test_nobody_may_anything_by_default():
    access = Access([])
    assert access.person(ANNA) is None
    assert not may(access, ANNA, Role.VIEWER)
    assert access.everyone() == ()
    assert access.readers_of_all() == frozenset()


def test_a_resource_changes_nothing():
    access = Access([OWNER])
    assert may(access, replace(ANNA, resource="phone"), Role.OWNER)
    with pytest.raises(ValueError, match="bare JID"):
        Access([replace(OWNER, jid=replace(ANNA, resource="phone"))])


@pytest.mark.parametrize("jid", [
    Jid("anna", "example.net"), Jid("anna", "sub.example.org"), Jid("", "example.org"), Jid("аnna", "example.org"),
    Jid("example.org", "anna"), Jid("anna", "example.org.evil.net"), Jid("bram", "example.org", "anna@example.org"),
])  # fmt: skip
def test_an_address_that_only_looks_alike_is_a_stranger(jid):
    assert Access([OWNER]).person(jid) is None


def test_two_people_cannot_have_one_address():
    with pytest.raises(ValueError, match=r"anna@example\.org is named twice"):
        Access([OWNER, replace(OWNER, role=Role.VIEWER)])


def test_a_role_may_all_that_the_one_before_it_may():
    access = Access([replace(VIEWER, role=Role.OPERATOR)])
    assert may(access, BRAM, Role.VIEWER)
    assert may(access, BRAM, Role.OPERATOR)
    assert not may(access, BRAM, Role.OWNER)


def test_only_limits_to_channels_and_devices():
    access = Access([VIEWER])
    names = ("door", "air.temperature", "air", "airport", "doorbell", "lamp")
    assert [name for name in names if may(access, BRAM, Role.VIEWER, name)] == ["door", "air.temperature", "air"]
    assert may(access, BRAM, Role.VIEWER)


def test_a_whole_domain_has_rights_only_when_it_is_written_so():
    access = Access([replace(VIEWER, jid=Jid(EVERYBODY, "house.example"))])
    cleo = Jid("cleo", "house.example", "phone")
    assert access.person(cleo) == replace(VIEWER, jid=cleo.bare)
    assert access.person(Jid("", "house.example")) is None
    assert access.person(Jid("cleo", "example.org")) is None
    assert access.named(cleo)
    grants = [grant(Jid(EVERYBODY, "example.org"), Role.OWNER)]
    assert Access([], grants).person(CLEO) is None


def test_a_whole_domain_is_never_a_member_or_told_anything():
    access = Access([Person(jid=Jid(EVERYBODY, "house.example"), role=Role.OWNER), OWNER])
    assert access.readers_of_all() == {ANNA}
    assert [person.jid for person in access.told("alarm", "door")] == [ANNA]


def test_members_of_the_whitelist_may_read_everything():
    access = Access([OWNER, VIEWER], [grant(CLEO, Role.VIEWER)])
    assert access.readers_of_all() == {ANNA, CLEO}


def test_a_grant_gives_rights_to_somebody_new():
    access = Access([OWNER]).with_grants([grant(CLEO, Role.OPERATOR, "lamp")])
    assert may(access, CLEO, Role.OPERATOR, "lamp")
    assert not may(access, CLEO, Role.OPERATOR, "pump")
    assert not access.named(CLEO)
    assert access.with_grants([]).person(CLEO) is None


def test_a_grant_never_exceeds_node_toml():
    assert Access([VIEWER], [grant(BRAM, Role.OWNER)]).person(BRAM) == VIEWER


def test_a_grant_narrows_somebody_named_and_none_leaves_nothing():
    access = Access([OWNER], [grant(ANNA, Role.VIEWER)])
    assert may(access, ANNA, Role.VIEWER)
    assert not may(access, ANNA, Role.OPERATOR)
    assert Access([OWNER], [grant(ANNA, Role.NONE)]).person(ANNA) is None
    everybody = Person(jid=Jid(EVERYBODY, "example.org"), role=Role.VIEWER)
    assert Access([everybody], [grant(CLEO, Role.NONE)]).person(CLEO) is None


@pytest.mark.parametrize(
    ("file", "chat", "left"),
    [
        ((), ("door",), ("door",)),
        (("door", "air"), (), ("door", "air")),
        (("door", "air"), ("door",), ("door",)),
        (("air",), ("air.temperature",), ("air.temperature",)),
        (("air.temperature",), ("air",), ("air.temperature",)),
    ],
)
def test_only_of_file_and_chat_is_what_both_allow(file, chat, left):
    access = Access([replace(VIEWER, only=file)], [grant(BRAM, Role.VIEWER, *chat)])
    person = access.person(BRAM)
    assert person is not None
    assert person.only == left


def test_channels_that_exclude_each_other_leave_nothing_rather_than_everything():
    access = Access([replace(VIEWER, only=("door",))], [grant(BRAM, Role.VIEWER, "lamp")])
    assert access.person(BRAM) is None


def test_people_are_told_what_is_usual_for_their_role_or_what_they_asked_for():
    deaf = Person(jid=CLEO, role=Role.OWNER, notify=frozenset())
    access = Access([OWNER, VIEWER, deaf])
    assert [p.jid for p in access.told("alarm", "door")] == [ANNA, BRAM]
    assert [p.jid for p in access.told("event", "door")] == [ANNA]
    assert [p.jid for p in access.told("alarm", "lamp")] == [ANNA]
    assert access.told("telemetry", "door") == ()


names = st.sampled_from(["door", "lamp", "air", "air.temperature", "air.humidity"])
people = st.builds(
    Person, jid=st.just(BRAM), role=st.sampled_from(Role), only=st.lists(names, max_size=3, unique=True).map(tuple)
)


@given(people, people, names, st.sampled_from([Role.VIEWER, Role.OPERATOR, Role.OWNER]))
def test_whatever_the_chat_grants_a_named_person_gets_no_more(file, granted, channel, needed):
    without = may(Access([file]), BRAM, needed, channel)
    assert may(Access([file], [granted]), BRAM, needed, channel) <= without


@pytest.mark.parametrize(
    ("mine", "theirs", "covered"),
    [
        ((), (), True), ((), ("door",), True), (("door",), (), False), (("door",), ("door",), True),
        (("door", "air"), ("air.temperature",), True), (("air.temperature",), ("air",), False),
        (("door",), ("door", "lamp"), False),
    ],
)  # fmt: skip
def test_who_covers_whom(mine, theirs, covered):
    assert replace(OWNER, only=mine).covers(replace(VIEWER, only=theirs)) is covered


def test_what_the_file_says_and_what_an_address_has_of_its_own():
    everybody = Person(jid=Jid(EVERYBODY, "house.example"), role=Role.OWNER)
    finn = Jid("finn", "house.example", "x")
    access = Access([OWNER, VIEWER, everybody], [grant(CLEO, Role.OWNER), grant(ANNA, Role.NONE)])
    assert [access.role_in_file(jid) for jid in (ANNA, BRAM, CLEO, finn)] == [
        Role.OWNER, Role.VIEWER, Role.NONE, Role.OWNER,
    ]  # fmt: skip
    assert [access.individual(jid) for jid in (ANNA, BRAM, CLEO, finn)] == [True, True, True, False]
    assert access.with_grants([grant(finn.bare, Role.VIEWER)]).individual(finn)
