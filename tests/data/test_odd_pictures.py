"""Ten thousand odd pictures: each is read as Pillow reads it, in both ways, or refused with a reason."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.data import odd

EACH, SECONDS = 1000, 900
"""Pictures of a process, and how long it may take: a fault of a decoder would end the process of the tests, or hang."""

MOST_MEGABYTES = 6000
"""Of memory that reading one picture just under the bound may take, in both ways (docs/threat-model.md)."""


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of damaged metadata
def test_a_sample_of_odd_pictures_is_pillows_or_refused() -> None:
    found = odd.main(0, 300)
    assert found["bad"] == []
    assert min(found["counts"][what] for what in odd.GOOD[:3]) > 10


@pytest.mark.slow
def test_ten_thousand_odd_pictures_are_pillows_or_refused_in_bounded_time_and_memory(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for first in range(0, 10_000, EACH):
        command = [sys.executable, "-m", "tests.data.odd", str(first), str(EACH), str(tmp_path / "last")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode == 0, (first, (tmp_path / "last").read_bytes(), done.stderr[-2000:])
        found = json.loads(done.stdout)
        assert found["bad"] == []
        assert found["megabytes"] < MOST_MEGABYTES
        counts.update(found["counts"])
    print(dict(counts))
    assert sum(counts.values()) == 10_000
