"""Bytes and tags that must not reach parser or handler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.xmpp.guard import MAX_STANZA, SASL, STREAM, TLS, ByteGuard, GuardError, may_handle

HEADER = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'>"
FORBIDDEN = [
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"<!ENTITY a 'b'>", b"<!-- a comment -->", b"<?php echo ?>",
    b"<?xml-stylesheet href='x'?>", b"<!doctype html>",
]


@pytest.mark.parametrize("construct", FORBIDDEN)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_restricted_xml_is_refused_however_it_is_cut(construct, step):
    guard = ByteGuard()
    data = HEADER + b"<message><body>hi</body>" + construct + b"</message>" + b" " * 16
    with pytest.raises(GuardError, match="comment, an instruction or a document type"):
        for start in range(0, len(data), step):
            guard.admit(data[start : start + step])


def test_cdata_and_the_declaration_are_fine():
    guard = ByteGuard()
    guard.admit(HEADER)
    guard.admit(b"<message><body><![CDATA[5 < 6 & so]]></body></message>")
    guard.admit("<message><body>&lt;!DOCTYPE is only text&gt; ½ é</body></message>".encode())


@pytest.mark.parametrize("data", ["<a/>".encode("utf-16"), b"<?xml version='1.0' encoding='utf-16'?>", b"\0"])
def test_only_utf8_because_other_encodings_hide_markup(data):
    with pytest.raises(GuardError, match="not UTF-8"):
        ByteGuard().admit(data)


def test_a_stanza_has_a_size_and_the_next_has_it_again():
    guard = ByteGuard()
    guard.admit(b"x" * MAX_STANZA)
    guard.stanza_done()
    guard.admit(b"x" * MAX_STANZA)
    with pytest.raises(GuardError, match="exceeds 262144 bytes"):
        guard.admit(b"x")


def test_depth_is_bounded():
    guard = ByteGuard()
    guard.depth(64)
    with pytest.raises(GuardError, match="deeper than 64"):
        guard.depth(65)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_admitted_or_refused_with_a_guard_error(data, step):
    guard = ByteGuard()
    try:
        for start in range(0, len(data), step):
            guard.admit(data[start : start + step])
    except GuardError:
        pass


@given(st.integers(1, 40), st.integers(0, 30))
def test_where_the_stream_is_cut_does_not_matter(step, padding):
    data = b"<a>" + b"y" * padding + b"<!--z--></a>" + b" " * 20
    with pytest.raises(GuardError):
        guard = ByteGuard()
        for start in range(0, len(data), step):
            guard.admit(data[start : start + step])


@pytest.mark.parametrize("tag", ["{jabber:client}message", "{jabber:client}iq", "{jabber:client}presence",
                                 f"{{{SASL}}}success", f"{{{SASL}}}challenge"])
def test_nothing_is_handled_before_tls(tag):
    assert not may_handle(tag, tls=False, logged_in=False)
    assert not may_handle(tag, tls=False, logged_in=True)


@pytest.mark.parametrize("tag", ["{jabber:client}message", "{jabber:client}iq", f"{{{TLS}}}proceed"])
def test_nothing_but_the_login_is_handled_before_login(tag):
    assert not may_handle(tag, tls=True, logged_in=False)


@pytest.mark.parametrize("tag", [f"{{{TLS}}}proceed", f"{{{SASL}}}success", f"{{{SASL}}}challenge"])
def test_what_is_settled_is_not_negotiated_again(tag):
    assert not may_handle(tag, tls=True, logged_in=True)


def test_a_proven_stream_is_handled():
    assert may_handle("{jabber:client}message", tls=True, logged_in=True)
    assert may_handle(f"{{{STREAM}}}features", tls=False, logged_in=False)
    assert may_handle(f"{{{TLS}}}proceed", tls=False, logged_in=False)
    assert may_handle(f"{{{SASL}}}success", tls=True, logged_in=False)
