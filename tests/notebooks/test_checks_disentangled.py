"""The checks of notebook 07: solutions pass, typical mistakes are named."""

import numpy as np
import pytest
from checks.disentangled import check_c2p, check_log_buckets, check_p2c


def log_buckets(distances, buckets, max_distance, *, rounded=np.ceil, dtype=np.float32):
    middle = buckets // 2
    beyond = np.maximum(np.abs(distances), middle)
    numerator, denominator = np.log(beyond / middle).astype(dtype), dtype(np.log((max_distance - 1) / middle))
    far = middle + rounded(numerator / denominator * dtype(middle - 1)).astype(int)
    return np.where(np.abs(distances) <= middle, distances, np.sign(distances) * far)


def late_division(distances, buckets, max_distance):
    middle = buckets // 2
    far = middle + np.ceil(
        (middle - 1) * np.log(np.maximum(np.abs(distances), middle) / middle) / np.log((max_distance - 1) / middle)
    )
    return np.where(np.abs(distances) <= middle, distances, np.sign(distances) * far)


def early_division(distances, buckets, max_distance):
    middle = buckets // 2
    far = middle + np.ceil(
        np.log(np.maximum(np.abs(distances), middle) / middle) * ((middle - 1) / np.log((max_distance - 1) / middle))
    )
    return np.where(np.abs(distances) <= middle, distances, np.sign(distances) * far)


def read(products, relative):
    size = products.shape[1]
    return np.take_along_axis(products, np.clip(relative + size // 2, 0, size - 1), axis=1)


def c2p(q, keys, relative):
    return read(q @ keys.T, relative)


def p2c(k, queries, relative):
    return read(k @ queries.T, relative.T).T


@pytest.mark.parametrize(
    ("check", "solution"), [(check_log_buckets, log_buckets), (check_c2p, c2p), (check_p2c, p2c)], ids=["buckets", "c2p", "p2c"]
)
def test_the_solution_passes(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out.startswith("✓")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda r, b, m: log_buckets(r, b, m, rounded=np.floor), "rounded up"),
        (lambda r, b, m: log_buckets(r, b, m, rounded=np.round), "rounded up"),
        (lambda r, b, m: np.abs(log_buckets(r, b, m)), "the sign is lost"),
        (lambda r, b, m: -log_buckets(r, b, m), "wrong way round"),
        (lambda r, b, m: np.clip(r, -b, b - 1), "without any logarithm"),
        (lambda r, b, m: log_buckets(r, b, m, dtype=np.float64), "float64"),
        (lambda r, b, m: late_division(r, b, m), "or in another order"),
        (lambda r, b, m: early_division(r, b, m), "or in another order"),
        (lambda r, b, m: log_buckets(r, b, m + 1), "yours has max_distance"),
        (lambda r, b, m: log_buckets(r, b, m, rounded=lambda x: x + 2), "beyond, sign"),
        (lambda r, b, m: log_buckets(r, b, m) + (r == 3), "the bucket is the distance itself"),
        (lambda r, b, m: r / 2, "whole numbers"),
        (lambda r, b, m: None, "is a return missing"),
    ],
)
def test_wrong_buckets_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_log_buckets(wrong)


def unclipped(q, keys, relative):
    return np.take_along_axis(q @ keys.T, relative + len(keys) // 2, axis=1)


def wrapped(q, keys, relative):
    return np.take_along_axis(q @ keys.T, (relative + len(keys) // 2) % len(keys), axis=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda q, keys, r: np.take_along_axis(q @ keys.T, r, axis=1), "no span added"),
        (lambda q, keys, r: c2p(q, keys, -r), "sign"),
        (lambda q, keys, r: c2p(q, keys, r).T, "transposed"),
        (lambda q, keys, r: c2p(q, keys, r) / np.sqrt(3 * q.shape[1]), "scale"),
        (unclipped, "reads past the table"),
        (wrapped, "wrong past it"),
        (lambda q, keys, r: q @ keys.T, "shape"),
        (lambda q, keys, r: c2p(q, keys, r) + 1, r"c2p\[0, 0\] is"),
    ],
)
def test_wrong_c2p_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_c2p(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda k, queries, r: p2c(k, queries, r).T, "right but transposed"),
        (c2p, "c2p with other arguments"),
        (lambda k, queries, r: read(k @ queries.T, r).T, "sign"),
        (lambda k, queries, r: np.take_along_axis(k @ queries.T, r.T, axis=1).T, "no span added"),
        (lambda k, queries, r: unclipped(k, queries, r.T).T, "reads past the table"),
        (lambda k, queries, r: wrapped(k, queries, r.T).T, "wrong past it"),
        (lambda k, queries, r: p2c(k, queries, r) + 1, r"p2c\[0, 0\] is"),
    ],
)
def test_wrong_p2c_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_p2c(wrong)
