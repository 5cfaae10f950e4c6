"""One scenario of a gRPC client against tests/peers/grpc_server.py, perhaps with a gateway between them.

Usage: grpc_client.py HOST:PORT KEY SCENARIO. Fails with an exception where something is not as it should be.
"""

import queue
import sys
import time

import grpc

PATIENCE = 10


class Peer:
    """Calls of the server, each with its deadline."""

    def __init__(self, target, key):
        unlimited = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        self.channel = grpc.insecure_channel(target, options=unlimited)
        self.metadata = (("x-api-key", key),)

    def call(self, kind, name, request, metadata=(), timeout=PATIENCE):
        method = getattr(self.channel, kind)(f"/test.Peer/{name}")
        return method(request, timeout=timeout, metadata=self.metadata + tuple(metadata))

    def unary(self, name, message=b"", **more):
        return self.call("unary_unary", name, message, **more)

    def tell(self, fact):
        self.unary("Tell", fact)

    def ask(self, fact):
        answer = self.unary("Ask", fact)
        assert answer == b"true", (fact, answer)


class Outbox:
    """Messages that are sent one by one, when the scenario wants it."""

    def __init__(self):
        self.messages = queue.Queue()

    def send(self, message):
        self.messages.put(message)

    def end(self):
        self.messages.put(None)

    def __iter__(self):
        return iter(self.messages.get, None)


def expect(status, call):
    """This status, or any where there is none."""
    try:
        call()
    except grpc.RpcError as error:
        assert status in (None, error.code()), error
        return error
    raise AssertionError(f"no error, but {status} was expected")


def unary(peer):
    method = peer.channel.unary_unary("/test.Peer/Echo")
    metadata = peer.metadata + (("x-sent", "a b"),)
    answer, call = method.with_call(b"hello", timeout=PATIENCE, metadata=metadata)
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert (answer, call.code(), initial["x-initial"], trailing["x-trailing"]) == (b"hello", grpc.StatusCode.OK, "a b", "a b")
    assert trailing["x-user"] == "ada", trailing
    assert "x-ratelimit-limit" in initial, initial


def large(peer):
    message = bytes(range(256)) * 4096 * 8
    assert peer.unary("Echo", message) == message


def many(peer):
    calls = [peer.channel.unary_unary("/test.Peer/Echo").future(b"%d" % n, timeout=PATIENCE, metadata=peer.metadata) for n in range(300)]
    assert [call.result() for call in calls] == [b"%d" % n for n in range(300)]


def server_streaming(peer):
    messages = peer.call("unary_stream", "Count", b"")
    assert next(messages) == b"one"
    # The first has arrived before the second was sent.
    peer.tell(b"go on")
    assert list(messages) == [b"two"]


def client_streaming(peer):
    outbox = Outbox()
    answer = peer.channel.stream_unary("/test.Peer/Collect").future(iter(outbox), timeout=PATIENCE, metadata=peer.metadata)
    for message in (b"a", b"b", b"c"):
        outbox.send(message)
        # It has arrived before the next is sent.
        peer.ask(b"collected " + message)
    outbox.end()
    assert answer.result() == b"a b c"


def bidirectional(peer):
    outbox = Outbox()
    replies = peer.call("stream_stream", "Chat", iter(outbox))
    for message in (b"a", b"b" * 100_000, b"c"):
        outbox.send(message)
        assert next(replies) == b"re: " + message
    outbox.end()
    assert list(replies) == []


def pause(peer):
    """Longer than a body may; and whoever is silent, the other side is not."""
    outbox = Outbox()
    replies = peer.call("stream_stream", "Chat", iter(outbox))
    for message in (b"a", b"b"):
        outbox.send(message)
        assert next(replies) == b"re: " + message
        time.sleep(0.6)
    outbox.end()
    assert list(replies) == []
    outbox = Outbox()
    answer = peer.channel.stream_unary("/test.Peer/Collect").future(iter(outbox), timeout=PATIENCE, metadata=peer.metadata)
    for _ in range(8):
        outbox.send(b"x")
        time.sleep(0.25)
    outbox.end()
    assert answer.result() == b" ".join([b"x"] * 8)
    assert list(peer.call("stream_stream", "Tick", iter(Outbox()))) == [b"tick"] * 8


def silence(peer):
    """Of both sides, after a message each way."""
    outbox = Outbox()
    replies = peer.call("stream_stream", "Chat", iter(outbox))
    outbox.send(b"a")
    assert next(replies) == b"re: a"
    began = time.monotonic()
    error = expect(None, lambda: next(replies))
    assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < PATIENCE / 2, error


def failure(peer):
    error = expect(grpc.StatusCode.FAILED_PRECONDITION, lambda: peer.unary("Fail"))
    assert error.details() == "not “now”: 100 %", error
    assert dict(error.trailing_metadata())["x-trailing"] == "too", error


def failure_in_the_middle(peer):
    messages = peer.call("unary_stream", "BreakOff", b"")
    assert next(messages) == b"one"
    error = expect(grpc.StatusCode.DATA_LOSS, lambda: next(messages))
    assert error.details() == "half of it is gone", error


def unknown_method(peer):
    expect(grpc.StatusCode.UNIMPLEMENTED, lambda: peer.unary("Nothing"))


def deadline(peer):
    left = float(peer.unary("Remaining", timeout=5))
    assert 0 < left <= 5, left
    expect(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: peer.unary("Hang", b"late", timeout=0.3))
    peer.ask(b"cancelled late")


def cancel(peer):
    call = peer.channel.unary_unary("/test.Peer/Hang").future(b"left", timeout=PATIENCE, metadata=peer.metadata)
    peer.ask(b"hangs left")
    call.cancel()
    peer.ask(b"cancelled left")


def refused(peer):
    """By the gateway: the key is wrong."""
    error = expect(grpc.StatusCode.UNAUTHENTICATED, lambda: peer.unary("Echo"))
    assert error.details() == "The API key is not valid.", error


def unreachable(peer):
    """By the gateway: there is no server."""
    error = expect(grpc.StatusCode.UNAVAILABLE, lambda: peer.unary("Echo"))
    assert error.details() == "The server behind the gateway cannot be reached.", error


def main():
    target, key, scenario = sys.argv[1:]
    globals()[scenario](Peer(target, key))


main()
