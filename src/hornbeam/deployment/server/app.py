"""The addresses of the server, and what each does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from hornbeam.config import ServeOptions
from hornbeam.deployment.server import forms, schemas
from hornbeam.deployment.server.answers import in_json
from hornbeam.deployment.server.guards import App, Guard
from hornbeam.deployment.server.intake import Memory, read_body
from hornbeam.deployment.server.metrics import TYPE, Metrics
from hornbeam.deployment.server.page import make_page
from hornbeam.deployment.server.pipeline import Job, Pipeline
from hornbeam.deployment.server.refusals import REASONS, ClientGoneError, Refusal
from hornbeam.deployment.server.schemas import FORM, JSON
from hornbeam.deployment.server.swapping import Served, Shelf
from hornbeam.errors import HornbeamError

_PATIENCE = 0.05
"""Seconds from which on it is worth looking whether the client still waits."""

_LONG = 2**18
"""Bytes of a form or of JSON from which on another thread takes it apart; less takes a millisecond."""

_DESCRIPTION = """Pictures in, calibrated answers out.

Every error is a JSON object with the sentence `error`. `docs/serving.md` is the guide."""


class Server:
    """What the addresses share.

    Args:
        options: of the command.
        shelf: the bundle that serves.
        threads: that decode.
        log: told each request in a line, or `None`.
        connections: tells how many there are.

    Attributes:
        stopping: whether it is about to leave; it still answers.
    """

    def __init__(
        self, options: ServeOptions, shelf: Shelf, threads: int, log: Callable[[str], None] | None,
        connections: Callable[[], int],
    ) -> None:  # fmt: skip
        self._connections = connections
        self.options, self.shelf = options, shelf
        self.stopping = False
        self.memory = Memory(options.max_memory)
        self.metrics = Metrics(shelf, lambda: self.pipeline.waiting, lambda: self.memory.held)
        self.pipeline = Pipeline(
            threads=threads, max_batch=options.max_batch, max_wait=options.max_wait / 1000,
            max_queue=options.max_queue, on_batch=self.metrics.batch,
        )  # fmt: skip
        app = _describe(self)
        if options.allow_origin:
            app.add_middleware(
                CORSMiddleware, allow_origins=list(options.allow_origin),
                allow_methods=["GET", "POST"], allow_headers=["authorization", "content-type"],
            )  # fmt: skip
        known = frozenset(route.path for route in app.routes if hasattr(route, "path"))
        self.app: App = Guard(
            app, token=options.secret(), metrics=self.metrics, known=known, log=log,
            origins=options.allow_origin, crowded=self._is_crowded,
        )  # fmt: skip

    def _is_crowded(self) -> bool:
        return self._connections() > self.options.max_connections

    async def predict(self, request: Request, top: int) -> Response:
        """Answer the pictures of a request."""
        headers, options = request.headers, self.options
        try:
            kind = forms.media_type(headers.get("content-type"))
            if headers.get("content-encoding", "identity").lower() != "identity":
                raise Refusal(415, "Send the request without Content-Encoding.")
            with self.memory.share() as share:
                body = await read_body(
                    request.receive, headers.get("content-length"), share, options.max_bytes,
                    options.read_timeout,
                )  # fmt: skip
                served = self.shelf.served
                given = (kind, headers.get("content-type", ""), body, served.columns,
                         options.max_pictures)  # fmt: skip
                # What takes long must not keep all others waiting.
                asked = (
                    forms.read_form(*given) if len(body) < _LONG or kind not in (FORM, JSON)
                    else await asyncio.to_thread(forms.read_form, *given)
                )  # fmt: skip
                del body, given
                request.state.pictures = len(asked.pictures)
                job = await self._answered(served, asked, request)
        except Refusal as refusal:
            return _refused(refusal)
        except asyncio.CancelledError:
            # It stops, and waits no longer for what is in work.
            return _refused(Refusal(503, "The server has stopped before there was an answer."))
        found = job.answers()
        self.metrics.answers(found, job.failed)
        if job.failed and all(answer.error is not None for answer in found):
            failure = next(item.answer for item in job.items if item.failed and item.answer)
            return _refused(Refusal(500, f"There is no answer: {failure.error}."))
        if not asked.batch and found[0].error is not None:
            return _refused(Refusal(422, f"The picture cannot be used: {found[0].error}."))
        content = in_json(served, [p.name for p in asked.pictures], found, top)
        return Response(content, media_type="application/json")

    async def _answered(self, served: Served, asked: forms.Asked, request: Request) -> Job:
        """Wait until all pictures are answered.

        Raises:
            Refusal: too many wait already, or it took too long.
            ClientGoneError: the client left.
        """
        loop = asyncio.get_running_loop()
        job = Job(served, [(p.data, p.features) for p in asked.pictures], loop)
        self.pipeline.submit(job)
        watching: asyncio.Task[None] | None = None

        async def watch() -> None:
            # Only now: most requests are answered before.
            try:
                async with asyncio.timeout(self.options.timeout - _PATIENCE):
                    while (await request.receive())["type"] != "http.disconnect":
                        pass
                reason: Exception = ClientGoneError()
            except TimeoutError:
                reason = Refusal(503, f"There was no answer within {self.options.timeout:g} s.")
            if not job.done.done():
                job.done.set_exception(reason)

        def begin_to_watch() -> None:
            nonlocal watching
            watching = loop.create_task(watch())

        timer = loop.call_later(min(_PATIENCE, self.options.timeout), begin_to_watch)
        try:
            await job.done
        except BaseException:
            job.dropped = True
            self.metrics.dropped(len(job.items))
            raise
        finally:
            timer.cancel()
            if watching is not None:
                watching.cancel()
        return job

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return whether pictures are answered now: a status, and it in words."""
        status: Literal["ready", "stopping", "full"] = "ready"
        if self.stopping:
            status = "stopping"
        elif self.pipeline.full or self._is_crowded():
            status = "full"
        told = {
            "status": status, "bundle": self.shelf.served.identity,
            "waiting": self.pipeline.waiting,
        }  # fmt: skip
        return (200 if status == "ready" else 503), told

    async def reload(self) -> tuple[str, str]:
        """Let the bundle at the path take the place of the one that serves.

        Returns:
            Who serves now, and who did.

        Raises:
            HornbeamError: it is refused.
        """
        before = self.shelf.served.identity
        try:
            now = await self.shelf.reload()
        except HornbeamError:
            self.metrics.reload(taken=False)
            raise
        self.metrics.reload(taken=True)
        return now.identity, before


def _describe(server: Server) -> FastAPI:
    """Return the application: each address, with all that it may answer."""
    options = server.options
    secured = options.secret() is not None
    app = FastAPI(
        title="Hornbeam",
        version=metadata.version("hornbeam"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    errors = _errors(401, 503) if secured else _errors(503)

    @app.get("/healthz", response_model=schemas.Health, responses=_errors(503), tags=["state"])
    async def healthz() -> Response:
        """The process is alive."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get(
        "/readyz", response_model=schemas.Readiness, tags=["state"],
        responses={503: {"model": schemas.Readiness, "description": "Not now."}},
    )  # fmt: skip
    async def readyz() -> Response:
        """Whether to send pictures here: the queue is not full, and the server not about to stop."""
        status, told = server.readiness()
        return Response(json.dumps(told), status, media_type="application/json")

    @app.get(
        "/metrics", tags=["state"], response_class=Response,
        responses={200: {"content": {TYPE: {"schema": {"type": "string"}}}}, **errors},
    )  # fmt: skip
    async def metrics() -> Response:
        """Counts, as Prometheus reads them."""
        return Response(server.metrics.text(), headers={"content-type": TYPE})

    @app.get("/model", response_model=schemas.Model, tags=["model"], responses=errors)
    async def model() -> Response:
        """What the bundle says of itself."""
        return Response(json.dumps(server.shelf.served.facts), media_type="application/json")

    statuses = (408, 413, 415, 422, 429, 500, 503, *((401,) if secured else ()))

    @app.post(
        "/predict", response_model=schemas.Answers, tags=["model"], responses=_errors(*statuses)
    )
    async def predict(
        request: Request,
        top: Annotated[
            int, Query(ge=1, description="classes to name for each picture")
        ] = options.top,
    ) -> Response:
        """Answer pictures: the bytes of one, a form with files, or JSON with base64."""
        try:
            return await server.predict(request, top)
        except ClientGoneError:
            return Response(status_code=499)

    @app.post(
        "/reload", response_model=schemas.Reloaded, tags=["model"],
        responses=_errors(*((401, 409, 503) if secured else (403, 503))),
    )  # fmt: skip
    async def reload() -> Response:
        """Take up what is at the bundle's path now, if it answers as it should."""
        if not secured:
            return _refused(Refusal(403, "Start the server with a token to allow this."))
        try:
            now, before = await server.reload()
        except HornbeamError as error:
            return _refused(Refusal(409, f"{_serves_on(server)}: {error}"))
        return Response(
            json.dumps({"bundle": now, "before": before}), media_type="application/json"
        )

    if options.page:
        page, policy = make_page()

        async def root(request: Request) -> Response:
            return Response(
                page, media_type="text/html", headers={"content-security-policy": policy}
            )

        app.add_route("/", root, methods=["GET"], include_in_schema=False)

    described: dict[tuple[str, ...], dict[str, Any]] = {}

    def describe() -> dict[str, Any]:
        # What may be sent depends on the bundle, and another may take its place.
        columns = server.shelf.served.columns
        if columns not in described:
            told = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            told["paths"]["/predict"]["post"]["requestBody"] = schemas.bodies(
                columns, options.max_pictures
            )
            described[columns] = told
        return described[columns]

    app.openapi = describe  # type: ignore[method-assign]

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        sentence = REASONS.get(error.status_code, str(error.detail))
        refused = _refused(Refusal(error.status_code, sentence))
        refused.headers.update(error.headers or {})
        return refused

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return _refused(Refusal(422, f"{name}: {first['msg']}."))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        # It is raised again behind this, and uvicorn writes it to the log.
        return _refused(Refusal(500, REASONS[500]))

    return app


def _serves_on(server: Server) -> str:
    """Return the beginning of a sentence about a bundle that was refused."""
    return f"The new bundle is refused, and {server.shelf.served.identity} serves on"


def _refused(refusal: Refusal) -> Response:
    response = Response(refusal.body(), refusal.status, media_type="application/json")
    response.raw_headers += refusal.headers()
    return response


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": schemas.Problem, "description": REASONS[status]} for status in statuses
    }
