//! Requests of ours outside any dialog: OPTIONS to a destination, REGISTER (SIP-098, OPS-035).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use crate::config::Login;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Method, Response};
use crate::sip::transaction::{Owner, Purpose};
use crate::sip::{DialogId, RequestId};

/// What an open request is for.
#[derive(Debug, Clone)]
pub(super) struct Alone {
    pub errand: Errand,
    /// Answers challenges.
    pub login: Option<Arc<Login>>,
}

/// See [`Alone::errand`]; the trunk by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    /// Is it there?
    Keepalive { trunk: String, target: SocketAddr },
    /// May we be called?
    Register { trunk: String },
}

/// What a request says.
pub(super) struct Question {
    pub method: Method,
    pub target: SocketAddr,
    pub request_uri: String,
    /// From without tag, and To.
    pub from_to: (String, String),
    /// Call-ID, From tag, CSeq.
    pub identity: (String, String, u32),
    pub headers: Vec<(&'static str, String)>,
}

impl Endpoint {
    /// Sends a request outside any dialog.
    pub(super) fn ask(&mut self, now: Instant, question: Question, alone: Alone) {
        let Some(listener) = self.listener_for(question.target) else { return };
        let request_id = RequestId(self.next_request);
        self.next_request += 1;
        let path = self.path_to(listener, question.target);
        let shown = self.shown(listener, question.target.ip());
        let ((from, to), (call_id, tag, cseq)) = (&question.from_to, &question.identity);
        let mut dialog = Dialog::calling(call_id, tag, from, to, shown, path);
        dialog.aim(&question.request_uri);
        let branch = self.mint_branch();
        let mut request = dialog.request(question.method, *cseq, &branch);
        self.sign(&mut request);
        for (name, value) in question.headers {
            request.headers.push(name, value);
        }
        self.alone.insert(request_id, alone);
        let owner = Owner { dialog: DialogId::NONE, purpose: Purpose::Alone(request_id) };
        self.transactions.open_client(now, path, request, owner, &mut self.out);
    }

    pub(super) fn alone_answered(&mut self, now: Instant, request: RequestId, response: &Response) {
        if response.code < 200 {
            return;
        }
        match self.alone.remove(&request).map(|alone| alone.errand) {
            Some(Errand::Keepalive { trunk, target }) => self.target_answered(now, &trunk, target, response.code),
            Some(Errand::Register { trunk }) => self.register_answered(now, &trunk, response),
            None => {}
        }
    }

    pub(super) fn alone_timed_out(&mut self, now: Instant, request: RequestId) {
        match self.alone.remove(&request).map(|alone| alone.errand) {
            // Its keepalive has not waited that long.
            Some(Errand::Keepalive { .. }) | None => {}
            Some(Errand::Register { trunk }) => self.register_unanswered(now, &trunk),
        }
    }
}
