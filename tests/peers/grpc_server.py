"""A gRPC server whose calls wait for each other, so that a client can tell what has arrived when.

Listens on a port of loopback that the system chose, and prints it. With a certificate and its key (files in PEM) it speaks TLS.
Messages are bytes: no schema is needed. Ends when its standard input does.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

PATIENCE = 10
facts = {}
facts_change = threading.Condition()


def tell(fact, value=b"true"):
    """Something has happened that `Ask` waits for."""
    with facts_change:
        facts[fact] = value
        facts_change.notify_all()


def await_fact(fact):
    with facts_change:
        facts_change.wait_for(lambda: fact in facts, PATIENCE)
        return facts.get(fact, b"never")


def echo(message, context):
    """Answers with the message; with the metadata it came with, as it ended."""
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", metadata.get("x-sent", "")),))
    context.set_trailing_metadata((("x-trailing", metadata.get("x-sent", "")), ("x-user", metadata.get("x-user-id", ""))))
    return message


def collect(messages, context):
    """Joins what comes, and tells of each as it does. Its head goes out at once."""
    context.send_initial_metadata(())
    received = []
    for message in messages:
        received.append(message)
        tell(b"collected " + message)
    return b" ".join(received)


def count(message, context):
    """Two messages, the second when it is let go on."""
    yield b"one"
    await_fact(b"told go on")
    yield b"two"


def chat(messages, context):
    for message in messages:
        yield b"re: " + message


def tick(messages, context):
    """Two seconds of messages, whatever the client says."""
    for _ in range(8):
        time.sleep(0.25)
        yield b"tick"


def fail(message, context):
    context.set_trailing_metadata((("x-trailing", "too"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not “now”: 100 %")


def break_off(message, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "half of it is gone")


def hang(message, context):
    """Never answers, and tells when nobody waits for that any more."""
    context.add_callback(lambda: tell(b"cancelled " + message))
    tell(b"hangs " + message)
    await_fact(b"cancelled " + message)
    return b""


def remaining(message, context):
    """The seconds that the client has left."""
    return str(context.time_remaining()).encode()


def note(message, context):
    tell(b"told " + message)
    return b""


def ask(message, context):
    """Answers once this has come true."""
    return await_fact(message)


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Tick": grpc.stream_stream_rpc_method_handler(tick),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "BreakOff": grpc.unary_stream_rpc_method_handler(break_off),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Tell": grpc.unary_unary_rpc_method_handler(note),
    "Ask": grpc.unary_unary_rpc_method_handler(ask),
}


def main():
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", HANDLERS),))
    if len(sys.argv) > 1:
        certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(((key, certificate),)))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


main()
