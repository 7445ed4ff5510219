"""A small table of region features, and the file it is converted to."""

from pathlib import Path

import pytest
from feature_tables import write_tsv

from lxmert_tickets.data.feature_conversion import convert_features


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    """Three images, A, B and C, of two regions each."""
    return write_tsv(tmp_path / "a.tsv", ["A", "B", "C"])


@pytest.fixture
def converted(tmp_path: Path, tsv: Path) -> Path:
    convert_features([tsv], tmp_path / "features.h5", metadata={"rule": "convert_features"})
    return tmp_path / "features.h5"
