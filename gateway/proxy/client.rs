//! A client's connection as its requests see it: who is there, and what became of its requests. What is being waited for is in
//! `client/deadlines.rs`.
//!
//! What must stay true here: nothing is written by more than one task at a time; the atomics are there to be shared, not raced
//! for.

mod deadlines;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::HeaderValue;

pub use self::deadlines::{Overdue, Phase};
use super::tunnel::Tunnel;
use crate::clock;
use crate::config::Scheme;
use crate::model::address::PeerAddr;
use crate::upstream::request_body::Upload;

pub struct Client {
    pub peer: PeerAddr,
    /// The peer's address, ready to be sent upstream.
    pub peer_value: HeaderValue,
    pub scheme: Scheme,
    /// When it was accepted, before any PROXY protocol header and handshake.
    pub opened: Instant,
    /// A request was taken, now or before.
    asked: AtomicBool,
    phase: AtomicU8,
    /// Milliseconds since `opened`, when the phase began.
    phase_since: AtomicU64,
    /// Since when the client has not taken what is written; 0 when it does.
    write_blocked: AtomicU64,
    /// Since when the upstream has sent nothing of its answer's body; 0 when that is not waited for.
    upstream_silent: AtomicU64,
    /// Milliseconds it may be silent.
    upstream_patience: AtomicU64,
    /// What is waited for is the head of the answer.
    awaits_head: AtomicBool,
    /// A request was taken, and its answer is not wholly written.
    answering: AtomicBool,
    /// The request has a body.
    has_body: AtomicBool,
    /// How that goes on to the upstream; `None` until it does.
    upload: Mutex<Option<Arc<Upload>>>,
    /// The upstream broke off in the middle of an answer.
    cut: AtomicBool,
    /// Something the client sent was left unread when its answer was given.
    unread: AtomicBool,
    /// What the connection becomes after a 101.
    tunnel: Mutex<Option<Tunnel>>,
}

impl Client {
    pub fn new(peer: PeerAddr, scheme: Scheme, opened: Instant) -> Self {
        let peer_value = HeaderValue::from_str(&peer.ip().to_string()).expect("an address is visible ASCII");
        Self::fresh(peer, peer_value, scheme, opened)
    }

    /// The same client, on a stream of its connection that began now.
    #[must_use]
    pub fn stream(&self) -> Self {
        Self::fresh(self.peer, self.peer_value.clone(), self.scheme, clock::monotonic())
    }

    fn fresh(peer: PeerAddr, peer_value: HeaderValue, scheme: Scheme, opened: Instant) -> Self {
        Self {
            peer,
            peer_value,
            scheme,
            opened,
            asked: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Fresh as u8),
            phase_since: AtomicU64::new(0),
            write_blocked: AtomicU64::new(0),
            upstream_silent: AtomicU64::new(0),
            upstream_patience: AtomicU64::new(0),
            awaits_head: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            upload: Mutex::new(None),
            cut: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            tunnel: Mutex::new(None),
        }
    }

    /// A request is taken. It has no deadline of its own: what it waits for has.
    pub fn begin(&self, has_body: bool) {
        if has_body {
            *self.upload() = None;
        }
        self.has_body.store(has_body, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        self.phase.store(Phase::Busy as u8, Ordering::Relaxed);
    }

    pub fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The request's body goes on to the upstream.
    pub fn uploads(&self, upload: &Arc<Upload>) {
        *self.upload() = Some(Arc::clone(upload));
    }

    /// There is more to come of the request's body, or nobody has looked at it yet.
    pub fn is_uploading(&self) -> bool {
        let goes_on = || self.upload().as_ref().is_none_or(|upload| upload.end().is_none());
        self.has_body.load(Ordering::Relaxed) && goes_on()
    }

    fn upload(&self) -> MutexGuard<'_, Option<Arc<Upload>>> {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever was to be written has been.
    pub fn flushed(&self) {
        if self.phase() != Phase::Busy {
            self.answering.store(false, Ordering::Relaxed);
        }
    }

    /// What is written now belongs to an answer of ours.
    pub fn is_being_answered(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    pub fn cut_answer(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub fn open_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    pub fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
