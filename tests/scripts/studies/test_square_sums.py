"""Every way to sum gives the sums of squares; the command prints a row for each part."""

import numpy as np
import pytest

from celo.scripts.studies import square_sums


def test_all_ways_give_the_same_sums():
    arguments = square_sums.example(128)
    sums = [
        np.stack(of(*arguments))
        for name, of in square_sums.parts().items()
        if "sums" in name or "joint" in name
    ]
    assert [len(found) for found in sums] == [18] * 5
    for found in sums[1:]:
        np.testing.assert_allclose(found, sums[0], rtol=1e-5)


def test_a_row_per_part(capsys):
    assert square_sums.main(["--sides", "128", "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "128 x 128" in lines[0]
    assert len(lines) == 2 + len(square_sums.parts())


@pytest.mark.parametrize("side", ["100", "0", "32768"])
def test_sides_that_do_not_fit(side, capsys):
    with pytest.raises(SystemExit) as raised:
        square_sums.main(["--sides", side])
    assert raised.value.code == 2
    assert "multiples of 128" in capsys.readouterr().err
