"""JIDs from text, and slixmpp's SCRAM made safe."""

import hashlib

import pytest
from slixmpp.util.sasl.client import MECHANISMS, SASLCancelled

from knoop.jid import Jid
from knoop.xmpp import compat


@pytest.mark.parametrize(
    "text",
    [
        "ANNA@example.org", "anna@EXAMPLE.org", "ａｎｎａ@example.org", "an\u00adna@example.org",
        "an\u200bna@example.org",
    ],
)
def test_equal_after_preparation(text):
    assert compat.jid(text) == Jid("anna", "example.org")


def test_sharp_s_and_homoglyphs():
    assert compat.jid("Strauß@example.org") == compat.jid("strauss@example.org")
    assert compat.jid("аnna@example.org") != compat.jid("anna@example.org"), "a Cyrillic а is another letter"


@pytest.mark.parametrize("text", ["", "@", "a@b@c", "anna@", "anna @example.org", "/x", "a" * 1100 + "@example.org"])
def test_what_is_no_address_is_a_value_error_that_shows_it(text):
    with pytest.raises(ValueError, match="is not an XMPP address"):
        compat.jid(text)


@pytest.mark.parametrize("name", ["📱", "Anna’s 📱", "👩\u200d🌾", "טלפון 1", "x" * 1023, "a/b@c", "\u00a0"])
def test_a_resource_that_stringprep_does_not_know_makes_nobody_a_stranger(name):
    jid = compat.jid(f"ANNA@example.org/{name}")
    assert jid.bare == Jid("anna", "example.org")
    assert jid.resource


def test_a_resource_that_stringprep_does_not_know_is_kept_as_it_is():
    assert str(compat.jid("anna@example.org/📱")) == "anna@example.org/📱"
    assert compat.jid("anna@example.org/ｐhone").resource == "phone", "what it knows is prepared as before"


@pytest.mark.parametrize("name", ["", "a\nb📱", "\x00", "📱\x1b[2J", "📱\u202e", "📱\u2028", "📱" * 256])
def test_a_resource_with_control_characters_or_without_end_is_no_address(name):
    with pytest.raises(ValueError, match="is not an XMPP address"):
        compat.jid(f"anna@example.org/{name}")


def test_the_bare_part_is_prepared_whatever_the_resource():
    for text in ("📱@example.org/📱", "anna@@example.org/📱", "anna @example.org/📱", "@example.org/📱", "/📱"):
        with pytest.raises(ValueError, match="is not an XMPP address"):
            compat.jid(text)


def test_parts():
    jid = compat.jid("anna@example.org/Phone")
    assert (jid.local, jid.domain, jid.resource, str(jid.bare)) == ("anna", "example.org", "Phone", "anna@example.org")
    assert str(compat.jid("example.org")) == "example.org"


def scram(name="SCRAM-SHA-256"):
    compat.harden()
    credentials = {"username": b"anna", "password": b"secret", "authzid": b"", "channel_binding": b""}
    security = {"tls_version": "TLSv1.3", "encrypted": True, "unencrypted_scram": False, "binding_proposed": False}
    return MECHANISMS[name](name, credentials, security)


@pytest.mark.parametrize(
    ("name", "digest"), [("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-512", "sha512")]
)
def test_the_key_derivation_is_pbkdf2(name, digest):
    assert scram(name).Hi(b"secret", b"salt", 4096) == hashlib.pbkdf2_hmac(digest, b"secret", b"salt", 4096)


def test_a_hostile_iteration_count_ends_the_login():
    with pytest.raises(SASLCancelled, match="1000000000 iterations"):
        scram().Hi(b"secret", b"salt", 1_000_000_000)


def test_the_nonce_is_unguessable_and_stands_in_both_messages():
    mechanism = scram()
    first = mechanism.process(b"")
    assert len(mechanism.cnonce) == 32
    assert first.endswith(b"r=" + mechanism.cnonce)
    assert mechanism.client_first_message_bare == b"n=anna,r=" + mechanism.cnonce
