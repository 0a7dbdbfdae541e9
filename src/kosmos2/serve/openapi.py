"""What `/openapi.json` says beyond what the routes say of themselves: refusals, and keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from kosmos2.serve.failures import TABLE

OPEN = "/health/live"

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "enum": sorted({row.type for row in TABLE.values()})},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string", "enum": sorted(TABLE)},
            },
        }
    },
}
_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    "moondream": {"type": "apiKey", "in": "header", "name": "X-Moondream-Auth"},
}
_NEVER = {499}  # nobody is there to read it
_ANY = {400, 401, 403, 404, 405, 408, 413, 415, 421, 431, 500}  # what the door may say to anyone
_WORK = {429, 503, 504}  # what those who want an answer may be told


def describe(app: FastAPI) -> None:
    """Let the app's own description tell the truth about what is refused, and how."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    parts = schema.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["Error"] = _ERROR
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours differ
        schemas.pop(unused, None)
    parts["securitySchemes"] = _SCHEMES
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            responses.pop("422", None)
            statuses = _ANY | (_WORK if method == "post" or path.startswith("/health") else set())
            for status in sorted(statuses - _NEVER):
                responses.setdefault(str(status), _refusal(status))
            operation["security"] = [] if path == OPEN else [{name: []} for name in _SCHEMES]
    return schema


def _refusal(status: int) -> dict[str, Any]:
    codes = ", ".join(code for code, row in TABLE.items() if row.status == status)
    schema = {"$ref": "#/components/schemas/Error"}
    reply: dict[str, Any] = {
        "description": f"Refused: {codes}",
        "content": {"application/json": {"schema": schema}},
    }
    if status in (429, 503):
        reply["headers"] = {
            "Retry-After": {"schema": {"type": "integer", "minimum": 1, "maximum": 60}}
        }
    return reply
