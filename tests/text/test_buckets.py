"""Bucket lengths that pad the least."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmodels.errors import UserError
from tfmodels.text import bucket_lengths


def padded_tokens(lengths, buckets):
    return sum(min(bucket for bucket in buckets if bucket >= length) for length in lengths)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    max_buckets=st.integers(1, 4),
    length_multiple=st.integers(3, 8),
)
def test_no_other_choice_of_buckets_pads_less(lengths, max_buckets, length_multiple):
    proposed = bucket_lengths(lengths, max_buckets, length_multiple)
    assert proposed == sorted(set(proposed)) and len(proposed) <= max_buckets
    assert all(bucket % length_multiple == 0 for bucket in proposed)
    candidates = range(length_multiple, max(lengths) + length_multiple, length_multiple)
    best = min(
        padded_tokens(lengths, choice)
        for count in range(1, max_buckets + 1)
        for choice in itertools.combinations(candidates or [length_multiple], count)
        if choice[-1] >= max(lengths)
    )
    assert padded_tokens(lengths, proposed) == best


def test_one_bucket_fits_the_longest():
    assert bucket_lengths([3, 17, 60], max_buckets=1) == [64]


def test_few_lengths_need_few_buckets():
    assert bucket_lengths([5, 6, 7], max_buckets=8) == [8]


@pytest.mark.parametrize("arguments", [([],), ([1], 0), ([1], 1, 0)])
def test_nothing_to_do_is_refused(arguments):
    with pytest.raises(UserError):
        bucket_lengths(*arguments)
