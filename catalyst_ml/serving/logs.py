"""Structured logs: one JSON object a line on standard output, and in a file where LOG_PATH is set."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
from datetime import UTC, datetime
from typing import Any

from catalyst_ml.settings import LogSettings

SERVICE = "catalyst-ml"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+]*://)[^/@\s]*@", re.IGNORECASE)


class JsonFormatter(logging.Formatter):
    """time, level, service, event, logger and whatever ``extra`` carried; credentials in URLs are blotted out."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": SERVICE,
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str)
        return _CREDENTIALS.sub(r"\g<scheme>***@", text)


def set_up_logs(settings: LogSettings) -> None:
    """Send all logs through the formatter; loggers of the web server included."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if settings.path is not None:
        settings.path.mkdir(parents=True, exist_ok=True)
        file = settings.path / f"{SERVICE}.log"
        handlers.append(
            logging.handlers.RotatingFileHandler(file, maxBytes=20_000_000, backupCount=5, encoding="utf-8")
        )
    root = logging.getLogger()
    root.handlers.clear()
    for handler in handlers:
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
    root.setLevel(settings.level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    for name in ("botocore", "boto3", "urllib3", "numba"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.level)))
