"""A WebSocket client: websocket_client.py CASE URL KEY [AUTHORITY]. A case that does not hold is an AssertionError."""

import asyncio
import os
import ssl
import sys

from websockets.exceptions import InvalidStatusCode
from websockets.legacy.client import connect as connect_to

case, url, key, *authority = sys.argv[1:]
tls = ssl.create_default_context(cafile=authority[0]) if authority else None


def connect(path="/", **options):
    options = {"extra_headers": {"Authorization": f"Bearer {key}"}, "max_size": None, "ssl": tls, **options}
    return connect_to(url + path, **options)


async def echo():
    async with connect() as connection:
        for message in ["hello", "", "Grüße 漢字", b"\x00\xff", "x" * 2**20, os.urandom(2**20), b"y" * 2**20]:
            await connection.send(message)
            assert await connection.recv() == message
        parts = [b"a", b"b" * 70_000, b"c"]
        await connection.send(parts)
        assert await connection.recv() == b"".join(parts)


async def without_compression():
    async with connect(compression=None) as connection:
        assert connection.extensions == [], connection.extensions
        message = os.urandom(2**20)
        await connection.send(message)
        assert await connection.recv() == message


async def compression():
    async with connect() as connection:
        names = [extension.name for extension in connection.extensions]
        assert names == ["permessage-deflate"], names
        await connection.send("z" * 2**20)
        assert await connection.recv() == "z" * 2**20


async def subprotocol():
    async with connect(subprotocols=["superchat", "other"]) as connection:
        assert connection.subprotocol == "superchat", connection.subprotocol


async def ping():
    async with connect() as connection:
        await asyncio.wait_for(await connection.ping(b"are you there?"), 10)
    async with connect("/ping") as connection:
        assert await connection.recv() == "you are"


async def close():
    async with connect("/close") as connection:
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (4001, "enough"), connection.close_code
    connection = await connect("/left")
    await connection.close(4002, "done")
    assert await last_closed() == "4002 done"


async def vanish():
    """Without a closing handshake."""
    connection = await connect("/left")
    connection.transport.abort()
    code = await last_closed()
    assert code.startswith("1006"), code


async def last_closed():
    async with connect("/closed") as connection:
        return await connection.recv()


async def refused():
    for headers in [{}, {"Authorization": "Bearer nobody's"}]:
        try:
            await connect(extra_headers=headers)
        except InvalidStatusCode as error:
            assert error.status_code == 401, error
        else:
            raise AssertionError("it was let in")


asyncio.run(globals()[case]())
