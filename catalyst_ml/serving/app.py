"""The HTTP application: paths, their documentation, and the order in which a request is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from catalyst_ml.errors import RequestRefused
from catalyst_ml.serving import health, upstream
from catalyst_ml.serving.bars_messages import BarsLate
from catalyst_ml.serving.documentation import describe, request_body
from catalyst_ml.serving.encoding import json_response
from catalyst_ml.serving.guard import Guard, RateLimit, Receive, Scope, Send, error_document
from catalyst_ml.serving.page import CONTENT_SECURITY_POLICY, render_page
from catalyst_ml.serving.refusals import MalformedBody, parse_body
from catalyst_ml.serving.requests import RequestBody, SignalRequest
from catalyst_ml.serving.service import Answer, SignalService
from catalyst_ml.serving.trial_view import TrialSource
from catalyst_ml.settings import ServingSettings

MAX_INLINE_BYTES = 65_536
"""Bodies up to this are parsed and answered on the event loop, if they carry features: well under a millisecond."""
HEAVY_AT_ONCE = 2
"""Requests with bars at a time: one in the process for bars, one before or behind it; and as many large batches of
inputs, which must not wait for bars."""

Body = TypeVar("Body", bound=RequestBody)


class _DirectRoute(APIRoute):
    """A route whose handler takes the request and makes the response itself, without FastAPI's dependencies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


class _Direct:
    """Calls the endpoint of exactly this method and path without the framework's layers, a fifth of a quick request.

    Everything else, a path or method that is none of ours above all, goes through them. What an endpoint raises beside
    a refusal is the guard's to log and to answer.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._endpoints = {
            (method, route.path): route.endpoint
            for route in app.routes
            if isinstance(route, _DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except RequestRefused as error:
            response = await _refused(request, error)
        await response(scope, receive, send)


def build_app(
    service: SignalService,
    trial: TrialSource,
    settings: ServingSettings,
    *,
    stop: Callable[[], None] = lambda: None,
) -> Guard:
    """Return the application behind its guard; ``stop`` is called when the server ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, stop)

    app = FastAPI(
        title="catalyst-ml",
        version=health.version(),
        description="Signals of the Catalyst Trading System: a gated model blended with the rules.",
        lifespan=lifespan,
        docs_url=None,  # the usual pages load scripts from elsewhere
        redoc_url=None,
    )
    app.router.route_class = _DirectRoute
    _add_signals(app, service)
    _add_state(app, service, trial)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.exception_handler(RequestRefused)(_refused)
    app.exception_handler(HTTPException)(_not_ours)
    app.exception_handler(Exception)(_surprised)
    key = settings.api_key
    return Guard(
        _Direct(app),
        api_key=key.get_secret_value() if key else None,
        max_bytes=settings.max_request_bytes,
        timeout_s=settings.timeout_s,
        rate=RateLimit(settings.rate_per_s, settings.burst),
        meters=service.meters,
        paths=frozenset(getattr(route, "path", "") for route in app.routes),
    )


def _add_signals(app: FastAPI, service: SignalService) -> None:
    with_bars, large = CapacityLimiter(HEAVY_AT_ONCE), CapacityLimiter(HEAVY_AT_ONCE)
    timeframe = service.line.timeframe

    async def answered(request: Request, model: type[Body], shape: Callable[[Body, Answer], Any]) -> Response:
        raw = await request.body()
        asked_at = monotonic()
        if len(raw) <= MAX_INLINE_BYTES and b'"features"' in raw:
            body = parse_body(model, raw)
            asked = body.to_request()
            if asked.is_of_inputs:
                return json_response(shape(body, service.answer(asked)))

        def work() -> Response:
            return json_response(shape(*service.answer_body(model, raw, asked_at=asked_at)))

        limiter = with_bars if b'"bars"' in raw or b'"features"' not in raw else large
        try:
            return await run_sync(work, limiter=limiter, abandon_on_cancel=True)
        except BarsLate as error:  # the guard is first, as a rule
            told = error_document("server", "an answer in time", str(error), request.scope["state"]["request_id"])
            return json_response(told, 503)

    @app.post("/v1/signals", summary="Signals of one symbol or of a batch", openapi_extra=request_body(SignalRequest))
    async def signals(request: Request) -> Response:
        return await answered(request, SignalRequest, lambda _, answer: answer.to_dict())

    @app.post(
        "/analyze_pattern", summary="As upstream's pattern service", openapi_extra=request_body(upstream.AnalyzePattern)
    )
    async def analyze_pattern(request: Request) -> Response:
        return await answered(
            request, upstream.AnalyzePattern,
            lambda body, answer: upstream.pattern_answer(body, answer, timeframe=timeframe),
        )  # fmt: skip

    @app.post(
        "/generate_signal",
        summary="As upstream's technical service",
        openapi_extra=request_body(upstream.GenerateSignal),
    )
    async def generate_signal(request: Request) -> Response:
        return await answered(request, upstream.GenerateSignal, upstream.signal_answer)

    @app.post("/api/v1/detect", summary="As upstream's later services", openapi_extra=request_body(upstream.Detect))
    async def detect(request: Request) -> Response:
        return await answered(
            request, upstream.Detect,
            lambda body, answer: upstream.detect_answer(body, answer, timeframe=timeframe),
        )  # fmt: skip

    async def predict(request: Request) -> Response:
        return await answered(request, upstream.Predict, upstream.prediction_answer)

    for path in ("/predict", "/api/v1/predict"):
        app.post(path, summary="One prediction", openapi_extra=request_body(upstream.Predict))(predict)


def _add_state(app: FastAPI, service: SignalService, trial: TrialSource) -> None:
    @app.get("/v1/model", summary="The version that answers, and its inputs")
    async def model(_: Request) -> Response:
        return json_response(health.model(service))

    @app.get("/health", summary="Upstream's health; in full with the key")
    async def healthy(request: Request) -> Response:
        return json_response(health.health(service, in_full=getattr(request.state, "is_known", False)))

    @app.get("/ready", summary="200 once the server has an answer to give")
    async def ready(_: Request) -> Response:
        is_ready = health.is_ready(service)
        return json_response({"ready": is_ready}, 200 if is_ready else 503)

    @app.get("/metrics", summary="Prometheus' text")
    async def metrics(_: Request) -> Response:
        view = trial.last_view
        text = health.metrics_text(service, accuracy=view.accuracy if view else None)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    @app.get("/", summary="The trial page")
    async def page(_: Request) -> Response:
        view = await run_sync(trial.view)
        html = render_page(service, view, trial.problem)
        return HTMLResponse(html, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefused):
        raise error
    status = 400 if isinstance(error, MalformedBody) else 422
    document = error_document(error.field, error.expected, error.got, request.scope["state"].get("request_id", ""))
    return json_response(document, status)


async def _not_ours(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    expected = {404: "a path of /openapi.json", 405: "another method"}.get(status, "another request")
    got = f"{request.method} {request.url.path[:200]}"
    return json_response(error_document("path", expected, got, request.scope["state"].get("request_id", "")), status)


async def _surprised(request: Request, _: Exception) -> Response:
    """The guard logs the trace; the caller learns the request's id."""
    request_id = request.scope["state"].get("request_id", "")
    return json_response(error_document("server", "an answer", "an internal error; the log has it", request_id), 500)
