"""When a task may try again: only where waiting can help."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from catalyst_ml.errors import CatalystError, SourceUnavailable


def is_temporary(task: Any, task_run: Any, state: State[Any]) -> bool:
    """True unless the failure is one of ours that repeating cannot mend (bad data, bad settings)."""
    try:
        state.result()
    except SourceUnavailable:
        return True
    except CatalystError:
        return False
    except Exception:
        # A foreign error (a dropped socket, say) may pass; three tries cost little.
        return True
    return False


RETRY_TEMPORARY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_temporary,
}
