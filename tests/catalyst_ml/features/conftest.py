import pytest

from catalyst_ml.features.panel import MarketPanel
from tests.catalyst_ml.features.markets import make_panel


@pytest.fixture(scope="session")
def panel() -> MarketPanel:
    """24 stocks in two sectors and none, 540 sessions from 2010-01-04 on, a few stories."""
    return make_panel(
        news=[
            ("S01", "2010-06-01 12:00"),
            ("S02", "2011-12-20 20:59:59"),
            ("S02", "2011-12-21 21:00"),
            ("S03", "2012-01-20 15:00"),
        ]
    )
