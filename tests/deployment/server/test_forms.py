"""Whatever the body of a request holds, the answer is pictures or a refusal: fuzzed, without a server."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.deployment.server.forms import media_type, read_form
from hornbeam.deployment.server.refusals import Refusal

FORM = "multipart/form-data; boundary=x"
WHOLE = (
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG\r\n'
    b'--x\r\nContent-Disposition: form-data; name="features"\r\n\r\n{"age": 1}\r\n--x--\r\n'
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.just("YQ==")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["image", "images", "features", "age", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw):
    """A whole form with bytes that were changed, left out or put in."""
    body = bytearray(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(0, 20))
        body[place : place + length] = draw(st.binary(max_size=8))
    return bytes(body)


LATIN = st.characters(codec="latin-1")  # what a header of HTTP can hold

BODIES = st.one_of(
    st.tuples(st.just(FORM), damaged()),
    st.tuples(
        st.text(LATIN, max_size=30).map(lambda text: f"multipart/form-data; {text}"), st.just(WHOLE)
    ),
    st.tuples(st.just("application/json"), JSON.map(lambda value: json.dumps(value).encode())),
    st.tuples(st.sampled_from([FORM, "application/json", "image/png"]), st.binary(max_size=60)),
)


@pytest.mark.parametrize("columns", [(), ("age",)])
@given(asked=BODIES)
@settings(max_examples=150)
def test_any_body_is_pictures_or_a_refusal_with_a_sentence(columns, asked):
    header, body = asked
    said = None
    try:
        found = read_form(media_type(header), header, body, columns, 2)
    except Refusal as refusal:
        said = (refusal.status, str(refusal))
    if said is None:
        assert 1 <= len(found.pictures) <= 2
        assert all((picture.features is None) == (not columns) for picture in found.pictures)
    else:
        assert said[0] in (413, 415, 422)
        assert said[1]
