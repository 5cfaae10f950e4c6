"""An app as ASGI has it, run by uvicorn on the socket that is its stdin."""

import asyncio
import hashlib
import json
import socket

import uvicorn

left = 0
next_event = asyncio.Event()


async def app(scope, receive, send):
    if scope["type"] == "http":
        handle = {"/upload": upload, "/events": events, "/next": go_on, "/wait": wait}.get(scope["path"], seen)
        await handle(scope, receive, send)


async def seen(scope, receive, send):
    """What reached the app."""
    told = {name: scope[name] for name in ("method", "path", "scheme", "client", "http_version")}
    told["raw_path"] = scope["raw_path"].decode()
    told["query"] = scope["query_string"].decode()
    told["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    told["left"] = left
    await answer(send, "application/json", json.dumps(told).encode())


async def upload(scope, receive, send):
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, "application/octet-stream", digest.digest())


async def events(scope, receive, send):
    """Each event but the first waits until somebody asks for /next."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
        await next_event.wait()
        next_event.clear()
    await send({"type": "http.response.body", "body": b""})


async def go_on(scope, receive, send):
    next_event.set()
    await answer(send, "text/plain", b"")


async def wait(scope, receive, send):
    """Begins an answer and never ends it; counts the clients that leave meanwhile."""
    global left
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    left += 1


async def answer(send, kind, body):
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    config = uvicorn.Config(app, proxy_headers=True, forwarded_allow_ips="127.0.0.1", log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=0)])
