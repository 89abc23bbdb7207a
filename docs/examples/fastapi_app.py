"""Memories inside a web application of your own: a journal that answers questions.

    uvicorn fastapi_app:app --app-dir docs/examples

    curl -X POST 127.0.0.1:8000/journal -H "X-User: anna" -d '{"text": "Planted three tomatoes."}'
    curl "127.0.0.1:8000/journal?ask=tomatoes" -H "X-User: anna"
    curl -X DELETE 127.0.0.1:8000/journal -H "X-User: anna"

``X-User`` stands for the sign-in that your application has: the user id must come from
it, never from what a user sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from maas import MaasError, PersonalMemoryBrain


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One brain for the whole application: it is shared by all threads, and gathers their texts into batches."""
    with PersonalMemoryBrain.from_config() as brain:
        app.state.brain = brain
        yield


app = FastAPI(title="Journal", lifespan=lifespan)


class Entry(BaseModel):
    text: str
    at: datetime | None = None


def brain_of(request: Request) -> PersonalMemoryBrain:
    brain: PersonalMemoryBrain = request.app.state.brain
    return brain


def signed_in(x_user: Annotated[str | None, Header()] = None) -> str:
    if not x_user:
        raise HTTPException(401, "sign in first")
    return x_user


Brain = Annotated[PersonalMemoryBrain, Depends(brain_of)]
User = Annotated[str, Depends(signed_in)]


@app.exception_handler(MaasError)
def refused(_: Request, error: MaasError) -> JSONResponse:
    """What maas refuses, with the status and the words it has for it."""
    return JSONResponse({"detail": error.detail, "code": error.code}, error.status)


# ``def``, not ``async def``: encoding and storing block, and belong into FastAPI's threads.
@app.post("/journal", status_code=201)
def write(entry: Entry, brain: Brain, user: User) -> dict[str, str]:
    """Keep an entry; a repeated one is kept once."""
    (kept,) = brain.store(entry.text, user_id=user, created_at=entry.at).results
    return {"id": kept.id, "event": kept.event}


@app.get("/journal")
def ask(brain: Brain, user: User, ask: Annotated[str, Query(min_length=1)]) -> list[dict[str, str | float]]:
    """The entries that answer a question, best first."""
    hits = brain.recall(ask, user_id=user, top_k=5).results
    return [{"text": hit.text, "at": hit.created_at.isoformat(), "score": round(hit.score, 3)} for hit in hits]


@app.delete("/journal")
def forget(brain: Brain, user: User) -> dict[str, object]:
    """Erase the user; the receipt is theirs."""
    return brain.erase_user(user).model_dump(mode="json")
