"""A WebSocket server on the socket that is its stdin; the path says what it does."""

import asyncio
import socket

from websockets.legacy.server import serve

closed = []


async def handle(connection):
    path = connection.path
    if path == "/ping":
        await asyncio.wait_for(await connection.ping(b"are you there?"), 10)
        await connection.send("you are")
    elif path == "/close":
        await connection.close(4001, "enough")
    elif path == "/closed":
        await connection.send(await last_closed())
    elif path == "/left":
        await connection.wait_closed()
        closed.append(f"{connection.close_code} {connection.close_reason}")
    else:
        async for message in connection:
            await connection.send(message)


async def last_closed():
    """How the client of /left went."""
    while not closed:
        await asyncio.sleep(0.01)
    return closed.pop()


async def main():
    listener = socket.socket(fileno=0)
    async with serve(handle, sock=listener, max_size=None, subprotocols=["chat", "superchat"]):
        await asyncio.Future()


asyncio.run(main())
