"""Products in both layouts: against float64, in every part that a thread may ask for, and which layout is chosen."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.errors import ConfigError
from sewnp.fast import products
from sewnp.fast.products import LAYOUTS, Blocks, Layout, Plain, chosen_layout, lay_out
from sewnp.fast.workspace import Workspace


def draw(*shape: int) -> Any:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows=st.integers(1, 200), columns=st.sampled_from([7, 16, 32, 80, 120, 512]), inputs=st.integers(1, 1500))
def test_products_against_float64(layout: Layout, rows: int, columns: int, inputs: int) -> None:
    x, weight = draw(rows, inputs), draw(columns, inputs)
    out = np.full((rows, columns), np.nan, np.float32)
    matrix = lay_out(weight, layout)
    matrix.multiply(x, out, Workspace(), 0)
    truth = x.astype(np.float64) @ weight.T.astype(np.float64)
    size = np.abs(x).astype(np.float64) @ np.abs(weight.T).astype(np.float64)  # what rounding is a fraction of
    assert (np.abs(out - truth) <= 4 * np.sqrt(inputs) * 2**-24 * size).all()
    np.testing.assert_array_equal(matrix.weight(), weight, strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_parts_are_parts_of_the_whole(layout: Layout) -> None:
    """Columns from step to step, inputs at any places, results that lie in a wider array."""
    x, weight = draw(91, 1200), draw(160, 1200)
    matrix, scratch = lay_out(weight, layout), Workspace()
    truth = x.astype(np.float64) @ weight.T.astype(np.float64)
    wide = np.zeros((91, 200), np.float32)
    for part in range(0, 160 // matrix.step, 2):
        columns = slice(part * matrix.step, min(160, (part + 2) * matrix.step))
        matrix.multiply(x, wide[:, columns], scratch, 0, columns=columns)
    assert np.abs(wide[:, :160] - truth).max() < 1e-3
    assert not wide[:, 160:].any()
    summed = np.zeros((91, 160))
    for inputs in (slice(0, 7), slice(7, 700), slice(700, 1200)):
        part_of = np.empty((91, 160), np.float32)
        matrix.multiply(np.ascontiguousarray(x[:, inputs]), part_of, scratch, 1, inputs=inputs)
        summed += part_of
    assert np.abs(summed - truth).max() < 1e-3
    matrix.multiply(x[:, :0], part_of, scratch, 1, inputs=slice(7, 7))
    assert not part_of.any()
    matrix.multiply(x, part_of[:, :0], scratch, 1, columns=slice(160, 160))


def test_blocks_divide_units_and_products_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = {(512, None): 32, (160, None): 32, (480, 120): 40, (1536, 192): 32, (144, 48): 48, (72, 24): 24, (16, None): 16}
    for (columns, unit), width in widths.items():
        assert lay_out(draw(columns, 8), "blocks", unit=unit).step == width
    for columns, unit in ((7, None), (33, None), (96, 3)):
        assert isinstance(lay_out(draw(columns, 8), "blocks", unit=unit), Plain)
    sizes: list[int] = []
    matmul = np.matmul

    def spy(a: Any, b: Any, out: Any) -> Any:
        sizes.append(a.shape[-2] * a.shape[-1] * b.shape[-1])
        return matmul(a, b, out=out)

    monkeypatch.setattr(products.np, "matmul", spy)
    matrix = lay_out(draw(64, 2048), "blocks")
    assert isinstance(matrix, Blocks)
    matrix.multiply(draw(750, 2048), np.empty((750, 64), np.float32), Workspace(), 0)
    assert max(sizes) <= 1_000_000
    assert len(sizes) <= 8  # four parts of the inputs, in even chunks of rows and a rest


def test_the_layout_is_chosen_by_the_kernels_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEWNP_PRODUCTS", raising=False)
    for names, layout in {
        ("SkylakeX",): "blocks",
        ("Cooperlake", "SapphireRapids"): "blocks",
        ("Haswell",): "plain",
        ("Zen",): "plain",
        ("SkylakeX", "mkl"): "plain",
        ("unknown",): "plain",
    }.items():
        monkeypatch.setattr(products, "kernels", lambda names=names: names)
        assert chosen_layout() == layout
    for layout in LAYOUTS:
        monkeypatch.setenv("SEWNP_PRODUCTS", layout)
        assert chosen_layout() == layout
    monkeypatch.setenv("SEWNP_PRODUCTS", "packed")
    with pytest.raises(ConfigError, match="SEWNP_PRODUCTS: expected one of blocks, plain, found 'packed'"):
        chosen_layout()
