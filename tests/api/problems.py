"""What every refusal must look like."""

from __future__ import annotations

from typing import Any

import httpx2


def problem_of(response: httpx2.Response, status: int, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    if code is not None:
        assert problem["code"] == code
    return problem


def fields_of(response: httpx2.Response, status: int) -> set[str]:
    return {error["field"] for error in problem_of(response, status).get("errors", [])}
