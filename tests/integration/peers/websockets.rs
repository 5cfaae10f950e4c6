//! Python's `websockets` on both sides of the gateway. What a case is stands in `tests/peers/websocket_client.py`.

use super::Front;
use super::programs::{PythonServer, python};

struct Chat {
    _server: PythonServer,
    front: Front,
}

impl Chat {
    fn start() -> Self {
        let server = PythonServer::start("websocket_server.py");
        let front = Front::before(server.address, "");
        Self { _server: server, front }
    }

    #[track_caller]
    fn holds(&self, case: &str) {
        let url = format!("ws://{}", self.front.gateway.address());
        python("websocket_client.py", &[case, &url, &self.front.key.secret]);
    }

    #[track_caller]
    fn holds_over_tls(&self, case: &str) {
        let url = format!("wss://localhost:{}", self.front.gateway.tls_address().port());
        python("websocket_client.py", &[case, &url, &self.front.key.secret, &self.front.authority().to_string_lossy()]);
    }
}

#[test]
fn messages_of_every_kind_and_size_come_back_as_they_went() {
    let chat = Chat::start();
    chat.holds("echo");
    chat.holds_over_tls("echo");
    chat.holds("without_compression");
}

#[test]
fn compression_and_protocol_are_agreed_between_the_ends() {
    let chat = Chat::start();
    chat.holds("compression");
    chat.holds("subprotocol");
}

#[test]
fn each_end_hears_the_others_pings_and_how_it_closes() {
    let chat = Chat::start();
    chat.holds("ping");
    chat.holds("close");
    chat.holds("vanish");
    chat.holds_over_tls("close");
}

#[test]
fn a_handshake_without_a_good_key_is_refused() {
    let chat = Chat::start();
    chat.holds("refused");
    chat.holds_over_tls("refused");
}
