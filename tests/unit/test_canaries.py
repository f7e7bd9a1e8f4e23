"""The search for canaries finds what it is there to find."""

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.canaries import ROOT, Canary, found_in, found_in_value

WAYS = {
    "plain": bytes, "upper": bytes.upper, "lower": bytes.lower, "base64": base64.b64encode,
    "base64-upper": lambda data: base64.b64encode(data.upper()), "url-safe": base64.urlsafe_b64encode,
    "hex": lambda data: data.hex().encode(), "HEX": lambda data: data.hex().upper().encode(),
    "percent": lambda data: "".join(f"%{byte:02X}" for byte in data).encode(),
    "json": lambda data: json.dumps({"a": data.decode("latin-1")}).encode(),
    "quoted": lambda data: urllib.parse.quote(data).encode(),
    "utf-16": lambda data: data.decode("latin-1").encode("utf-16-le"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@given(before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_a_word_is_found_in_every_encoding_at_every_offset(way, before, after):
    assert found_in(WAYS[way](before + str(Canary("name")).encode() + after)) == {ROOT}


@given(st.binary(max_size=200))
def test_nothing_is_found_where_nothing_is(data):
    assert found_in(base64.b64encode(data)) == set()


def test_which_word_it_is_is_told():
    one, other = Canary("one"), Canary("other")
    assert found_in_value({"a": [f"Is Ms {one} well?"]}, [one, other]) == {str(one)}
    assert found_in_value(None, [one]) == set()
