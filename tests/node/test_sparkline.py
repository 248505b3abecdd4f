"""A curve in one line: what a person sees of a day."""

from hypothesis import given
from hypothesis import strategies as st

from knoop.sparkline import BLOCKS, GAP, WIDTH, buckets, sparkline

H = 3_600_000_000_000


def test_each_part_is_the_mean_over_its_time():
    points = [(0, 0.0), (H, 10.0), (2 * H, 20.0)]
    assert buckets(points, since_ns=0, until_ns=4 * H, width=4) == [0.0, 10.0, 20.0, 20.0]
    assert buckets(points, since_ns=0, until_ns=4 * H, width=2) == [5.0, 20.0]


def test_what_is_not_known_is_a_gap():
    points = [(H, 5.0), (2 * H, None), (3 * H, 9.0)]
    assert buckets(points, since_ns=0, until_ns=4 * H, width=4) == [None, 5.0, None, 9.0]
    assert sparkline([None, 5.0, None, 9.0]) == f"{GAP}▁{GAP}█"
    assert sparkline([None] * 3) == GAP * 3


def test_a_line_that_is_flat_is_in_the_middle():
    assert sparkline([4.0, 4.0]) == "▄▄"


@given(
    st.lists(st.tuples(st.integers(0, 10 * H), st.none() | st.floats(-1e9, 1e9)), max_size=50),
    st.integers(1, 60),
)
def test_any_points_make_a_line_of_the_width_between_their_extremes(points, width):
    points.sort(key=lambda point: point[0])
    means = buckets(points, since_ns=0, until_ns=10 * H, width=width)
    assert len(means) == width
    known = [value for _, value in points if value is not None]
    assert all(min(known) - 1e-3 <= mean <= max(known) + 1e-3 for mean in means if mean is not None)
    assert set(sparkline(means)) <= {*BLOCKS, GAP}
    assert WIDTH <= 24, "the narrowest phone"
