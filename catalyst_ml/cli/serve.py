"""``catalyst-ml serve``: the signal server beside the trading system."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; another than loopback needs SERVE_API_KEY.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; 5012 by default.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=16, help="Processes of some 130 MB; each starts one more for bars.")
    ] = 1,
) -> None:
    """Serve signals and the trial page. Follows the signed production channel; the rules answer where it cannot."""
    try:
        import fastapi  # noqa: F401
        import onnxruntime  # noqa: F401
        import uvicorn

        from catalyst_ml.serving.http_protocol import BoundedHttpProtocol
    except ImportError as error:
        from catalyst_ml.errors import ConfigurationError

        raise ConfigurationError(
            f"serve: {error.name} is not installed. Install it: pip install 'catalyst-ml[serve]'"
        ) from error
    import os

    from catalyst_ml.serving.assembly import assemble, with_upstream_names
    from catalyst_ml.serving.logs import set_up_logs
    from catalyst_ml.settings import Settings

    for name, value in (("SERVE_HOST", host), ("SERVE_PORT", port)):
        if value is not None:
            os.environ[name] = str(value)  # worker processes read it there
    settings = with_upstream_names(Settings())
    set_up_logs(settings.log)
    common: dict[str, Any] = {
        "host": settings.serving.host,
        "port": settings.serving.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 30,
        "limit_concurrency": 1_000,
        "timeout_graceful_shutdown": 20,
        "http": BoundedHttpProtocol,
        "ws": "none",
    }
    if workers > 1:
        uvicorn.run("catalyst_ml.serving.assembly:from_environment", factory=True, workers=workers, **common)
    else:
        uvicorn.run(assemble(settings).app, **common)
