//! One call of the admin API, and what is made of its answer.
//!
//! What must stay true here: the credential goes to the endpoint and nowhere else: no redirect is followed.

use std::io::{BufRead, BufReader};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use crate::certificates;
use crate::cli::failure::{Advice, BadUsage};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A long report takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
/// A call whose answer was lost is made again: it has its effect once.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

pub struct Client {
    agent: Agent,
    endpoint: String,
    credential: Zeroizing<String>,
}

pub struct Answer<T> {
    pub body: T,
    /// Of the next page.
    pub next: Option<String>,
    /// How many rows could not be read.
    pub unreadable: u64,
}

impl Client {
    /// # Errors
    /// When the endpoint is no URL of HTTP.
    pub fn new(endpoint: &str, credential: Zeroizing<String>) -> Result<Self, BadUsage> {
        let is_url = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
            uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
        });
        if !is_url {
            return Err(BadUsage(format!("--endpoint: {endpoint:?} is no URL such as https://gateway.internal:8081")));
        }
        let roots = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<_> = roots.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(certificates::provider());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .tls_config(tls.build())
            .user_agent(concat!("hokusai-gateway/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().into(), endpoint: endpoint.trim_end_matches('/').to_owned(), credential })
    }

    /// `path` begins behind `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Answer<T>> {
        self.call("GET", path, None)
    }

    /// A call that may be made again.
    ///
    /// # Errors
    /// What the gateway says against it, or that it could not be asked.
    pub fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer<T>> {
        let mut response = self.ask(method, path, body)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (next, unreadable) = (header("link").as_deref().and_then(next_page), header("x-unreadable-rows"));
        let text = self.text(&mut response)?;
        let text: &[u8] = if text.is_empty() { b"null" } else { &text };
        let body = serde_json::from_slice(text)
            .map_err(|error| self.speaks_otherwise(response.status().as_u16(), &error.to_string()))?;
        Ok(Answer { body, next, unreadable: unreadable.and_then(|count| count.parse().ok()).unwrap_or_default() })
    }

    /// Each line of an answer that may be longer than the memory.
    pub fn lines<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<impl Iterator<Item = anyhow::Result<T>>> {
        let reader = BufReader::new(self.ask("GET", path, None)?.into_body().into_reader());
        let broke_off = format!("the answer of {} broke off: what came of it is not whole", self.endpoint);
        let lines = reader.lines().map(move |line| line.with_context(|| broke_off.clone()));
        Ok(lines.map(|line| serde_json::from_str(&line?).context("a line of the answer cannot be understood")))
    }

    /// An answer of success.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Response<Body>> {
        let name = uuid::Uuid::new_v4().to_string();
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut attempt = 1;
        let mut response = loop {
            match self.agent.run(self.request(method, path, &name, &body)?) {
                Ok(response) => break response,
                Err(ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => return Err(self.cannot_be_reached("").into()),
                Err(error) if attempt == ATTEMPTS => return Err(self.cannot_be_reached(&format!(": {error}")).into()),
                Err(_) => attempt += 1,
            }
            thread::sleep(PAUSE);
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let text = self.text(&mut response)?;
        Err(self.refusal(response.status().as_u16(), &text))
    }

    fn request(&self, method: &str, path: &str, name: &str, body: &str) -> anyhow::Result<Request<String>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.endpoint))
            .header("Authorization", format!("Bearer {}", *self.credential))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", name);
        request.body(body.to_owned()).context("the admin API cannot be asked so")
    }

    fn text(&self, response: &mut Response<Body>) -> anyhow::Result<Vec<u8>> {
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_vec();
        text.with_context(|| format!("the answer of {} broke off", self.endpoint))
    }

    fn refusal(&self, status: u16, text: &[u8]) -> anyhow::Error {
        let problem: Value = serde_json::from_slice(text).unwrap_or_default();
        let (Some(code), Some(detail)) = (problem["code"].as_str(), problem["detail"].as_str()) else {
            return self.speaks_otherwise(status, "that is not how a gateway refuses").into();
        };
        let says = detail.to_owned();
        let advice = |hint: &str| Advice { says: says.clone(), hint: hint.to_owned() }.into();
        match code {
            "not_found" => advice("`hokusai-gateway keys list` shows the keys there are"),
            "missing_credential" | "invalid_credential" => {
                advice("HOKUSAI_ADMIN_TOKEN is sent to the endpoint; without it HOKUSAI_API_KEY, for your own keys")
            }
            "missing_key" | "invalid_key" | "no_route" => self.speaks_otherwise(status, &says).into(),
            "invalid_value" | "bad_request" => BadUsage(says).into(),
            _ => anyhow!("{says}"),
        }
    }

    fn cannot_be_reached(&self, why: &str) -> Advice {
        Advice {
            says: format!("the gateway at {} cannot be reached{why}", self.endpoint),
            hint: "--endpoint (or HOKUSAI_API_ENDPOINT) names the admin listener of a gateway that runs".to_owned(),
        }
    }

    fn speaks_otherwise(&self, status: u16, why: &str) -> Advice {
        Advice {
            says: format!("{} answered {status}, and not as the admin API of a gateway: {why}", self.endpoint),
            hint: "--endpoint (or HOKUSAI_API_ENDPOINT) names the admin listener, not the one for traffic".to_owned(),
        }
    }
}

/// RFC 8288, as the admin API writes it: `</api/v1/keys?…>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (path, _) = link.strip_prefix("</api/v1")?.split_once(">; rel=\"next\"")?;
    Some(path.to_owned())
}
