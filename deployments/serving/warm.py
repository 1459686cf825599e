"""Compile the kernels once, while the image is built, as the process for bars would at its start."""

from __future__ import annotations

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.serving.warming import warm


def main() -> None:
    seen = warm(TradingCalendar())
    print(f"warm: {len(seen.events)} events, {len(seen.held)} quiet symbols, {len(seen.days)} stock-days")


if __name__ == "__main__":
    main()
