"""Links that servers and people's clients make, and what is none."""

import pytest

from knoop.invitation import Invite, looks_like_one, parse


@pytest.mark.parametrize(
    ("uri", "invite"),
    [
        # XEP-0401 §3: an account on this server, its name chosen by whoever takes it, or reserved
        ("xmpp:example.org?register;preauth=f4JgzQ", Invite(domain="example.org", token="f4JgzQ")),
        (
            "xmpp:greenhouse@example.org?register;preauth=f4JgzQ",
            Invite(domain="example.org", token="f4JgzQ", local="greenhouse"),
        ),
        # XEP-0379 with XEP-0401's ibr: the inviter's contact, and an account on the inviter's server
        (
            "xmpp:anna@example.org?roster;preauth=1tMFqYDd;ibr=y;name=Anna+B",
            Invite(domain="example.org", token="1tMFqYDd", inviter="anna@example.org"),
        ),
        ("xmpp:anna@example.org?roster;ibr=y;preauth=1tMF", Invite(domain="example.org", token="1tMF",
                                                                   inviter="anna@example.org")),
        # RFC 5122: percent-encoding, an authority, a fragment, a scheme in capitals
        ("xmpp:caf%C3%A9@example.org?register;preauth=a%2Bb%3D", Invite(domain="example.org", token="a+b=",
                                                                        local="café")),
        ("XMPP://me@example.net/example.org?register;preauth=t#top", Invite(domain="example.org", token="t")),
        (" xmpp:example.org?register;preauth=a=b \n", Invite(domain="example.org", token="a=b")),
        ("xmpp:example.org?register;preauth=a+b", Invite(domain="example.org", token="a+b")),
    ],
)  # fmt: skip
def test_an_invite_says_where_and_with_what(uri, invite):
    assert looks_like_one(uri)
    assert parse(uri) == invite


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("https://example.org/invite/#f4JgzQ", "open it and copy the link that begins with xmpp:"),
        ("anna@example.org", "an invite is a link like xmpp:"),
        ("", "an invite is a link like xmpp:"),
        ("xmpp:anna@example.org", "an address without an invite"),
        ("xmpp:anna@example.org?message;body=hello", "this link is for 'message'"),
        ("xmpp:example.org?register", "no token"),
        ("xmpp:example.org?register;preauth=", "no token"),
        ("xmpp:?register;preauth=t", "names no server"),
        ("xmpp:@example.org?register;preauth=t", "names no server"),
        ("xmpp:anna@example.org?roster;preauth=t", "makes a contact, not an account"),
        ("xmpp:anna@example.org?roster;preauth=t;ibr=n", "makes a contact, not an account"),
        ("xmpp:example.org?roster;preauth=t;ibr=y", "does not say who invites"),
        ("xmpp:%ff@example.org?register;preauth=t", "damaged"),
    ],
)
def test_what_is_no_invite_is_said_to_be_something_else(uri, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(uri)


def test_the_account_is_an_address_only_where_the_invite_names_one():
    assert parse("xmpp:greenhouse@example.org?register;preauth=t").account == "greenhouse@example.org"
    assert parse("xmpp:anna@example.org?roster;preauth=t;ibr=y").account == "example.org"


def test_an_address_is_not_taken_for_a_link():
    assert not looks_like_one("xmpp@example.org")
    assert not looks_like_one("https@example.org")


def test_the_token_is_not_shown_by_accident():
    assert "f4JgzQ" not in repr(parse("xmpp:example.org?register;preauth=f4JgzQ"))
