//! Where a call goes next: another destination of its trunk when one fails (RFC 3263 section 4.3, SIP-055), or where a 3xx
//! sends it, within what the trunk allows (RFC 3261 section 8.1.3.4, SIP-106).

use std::net::SocketAddr;
use std::time::Instant;

use tracing::info;

use super::Endpoint;
use crate::sip::DialogId;
use crate::sip::event::{Redirects, Way};
use crate::sip::invite::{Cancel, State, UsageTimer};
use crate::sip::message::Response;
use crate::sip::uri::{Host, NameAddr, Scheme, Uri};
use crate::sip::via::DEFAULT_PORT;

/// How often one call may be redirected.
const MAX_REDIRECTIONS: u32 = 5;

impl Endpoint {
    /// The system says that nobody can be reached at `address`: calls to it that were not answered at all, and that have
    /// another destination, go there at once. All others go on: timers end them (SIP-036).
    pub fn handle_unreachable(&mut self, now: Instant, address: SocketAddr) {
        for id in self.usages.calling(address) {
            let waits = self.usages.get(id).is_some_and(|usage| usage.dialog.remote_tag.is_empty());
            if waits && self.usages.is_armed(id, UsageTimer::NoResponse) {
                self.try_next(now, id, "cannot be reached");
            }
        }
        self.target_unreachable(now, address);
    }

    /// Tries the next destination of a call, if there is one and the call is still wanted; whether it did.
    pub(super) fn try_next(&mut self, now: Instant, id: DialogId, why: &str) -> bool {
        let Some(usage) = self.usages.get(id) else { return false };
        let State::Calling(calling) = &mut usage.state else { return false };
        let from = usage.dialog.peer.to;
        if calling.cancel != Cancel::No {
            return false;
        }
        let Some(way) = calling.plan.ways.pop_front() else { return false };
        // The same CSeq: whoever gets both must see that it is one call (RFC 3263 section 4.3).
        let cseq = calling.cseq;
        info!(call_id = usage.dialog.call_id, %from, to = %way.target, "{why}: the call goes to the next destination");
        self.retarget(now, id, &way, cseq);
        true
    }

    /// Follows a 3xx to the best of its Contacts that are allowed; whether one is.
    pub(super) fn follow(&mut self, now: Instant, id: DialogId, response: &Response) -> bool {
        let Some(usage) = self.usages.get(id) else { return false };
        let State::Calling(calling) = &mut usage.state else { return false };
        let named = contacts(response);
        let mut ways: Vec<Way> = named.iter().filter_map(|uri| allowed(&calling.plan.redirects, uri)).collect();
        let call_id = usage.dialog.call_id.clone();
        if calling.cancel != Cancel::No || ways.is_empty() || calling.plan.redirected >= MAX_REDIRECTIONS {
            info!(
                call_id,
                code = response.code,
                contacts = named.len(),
                "a redirection is not followed: its trunk allows no such destination, or there were too many"
            );
            return false;
        }
        let way = ways.remove(0);
        calling.plan.redirected += 1;
        calling.plan.ways = ways.into();
        let cseq = usage.dialog.next_cseq();
        info!(call_id, to = %way.target, code = response.code, "the call is redirected");
        self.retarget(now, id, &way, cseq);
        true
    }

    fn retarget(&mut self, now: Instant, id: DialogId, way: &Way, cseq: u32) {
        let Some(listener) = self.usages.get(id).map(|usage| usage.dialog.peer.listener) else { return };
        let listener = self.listener_for(way.target).unwrap_or(listener);
        let shown = self.shown(listener, way.target.ip());
        let path = self.path_to(listener, way.target);
        self.usages.move_peer(id, path);
        let Some(usage) = self.usages.get(id) else { return };
        let State::Calling(calling) = &mut usage.state else { return };
        usage.dialog.retarget(&way.request_uri, &calling.plan.call.to, shown);
        let (old, call, dialog) = (calling.transaction, calling.plan.call.clone(), usage.dialog.clone());
        self.transactions.abandon(old);
        let transaction = self.open_invite(now, id, &dialog, &call, cseq);
        if let Some(State::Calling(calling)) = self.usages.get(id).map(|usage| &mut usage.state) {
            (calling.transaction, calling.cseq) = (transaction, cseq);
        }
        if let Some(no_response) = call.ways.no_response {
            self.usages.arm(id, UsageTimer::NoResponse, now + no_response);
        }
    }
}

/// The URIs of a 3xx, the highest `q` first.
fn contacts(response: &Response) -> Vec<Uri> {
    let read = |value: &&str| NameAddr::parse(value).ok();
    let mut contacts: Vec<NameAddr> = response.headers.list("Contact").iter().filter_map(read).collect();
    let q = |contact: &NameAddr| {
        contact.param("q").and_then(|q| q.parse::<f32>().ok()).map_or(1000, |q| (q * 1000.0) as i32)
    };
    contacts.sort_by_key(|contact| -q(contact));
    contacts.into_iter().map(|contact| contact.uri).collect()
}

/// How a URI is reached, where a call may be sent there.
fn allowed(redirects: &Redirects, uri: &Uri) -> Option<Way> {
    let udp = uri.param("transport").is_none_or(|transport| transport.eq_ignore_ascii_case("udp"));
    let host = uri.host.as_ref().filter(|_| uri.scheme == Scheme::Sip && udp)?;
    let known = redirects.hosts.iter().find(|(name, _)| Host::parse(name).as_ref() == Some(host));
    let target = match (known, host) {
        (Some((_, address)), _) => SocketAddr::new(address.ip(), uri.port.unwrap_or(address.port())),
        (None, Host::Ip(ip)) if redirects.networks.iter().any(|net| net.contains(&ip.to_canonical())) => {
            SocketAddr::new(*ip, uri.port.unwrap_or(DEFAULT_PORT))
        }
        (None, Host::Ip(_) | Host::Name(_)) => return None,
    };
    // Headers must not stand in a Request-URI.
    let request_uri = uri.raw().split('?').next().unwrap_or_default().to_owned();
    Some(Way { target, request_uri })
}
