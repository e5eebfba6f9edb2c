//! The tick: packets out, packets in, timers.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::slot::{Buffers, Due, Slot};
use super::{PINGS_LOOK, Shard};
use crate::base::prefetch::touch;
use crate::net::datagrams::Datagram;
use crate::net::rtp_socket::{self, DATAGRAMS_AT_ONCE};
use crate::server::carrier::{Home, Outgoing};
use crate::server::clock::Tick;

/// Calls whose memory is read ahead together.
const AHEAD: usize = 16;

fn is_due(moment: Option<Instant>, now: Instant) -> bool {
    moment.is_some_and(|moment| moment <= now)
}

impl Shard {
    pub(super) fn note_due(&mut self, key: usize) {
        let due = &mut self.dues[key];
        *due = match self.calls.get(key) {
            Some(Slot { call, .. }) => Due {
                send: call.next_send(),
                receive: call.next_receive(),
                timer: call.next_timer(),
                pings: due.pings,
                settling: call.is_settling(),
            },
            None => Due::default(),
        };
        self.firsts[key] = due.first(self.epoch);
    }

    /// One tick, a few calls at a time: first their packets leave, then their sockets are read and the audio is passed on.
    pub(super) fn tick(&mut self, tick: Tick) {
        self.lateness.record(tick.late.as_secs_f64() * 1000.0);
        if let Some(lags) = self.lag.note(tick) {
            self.around.directory.note_lag(lags);
            warn!(lags, "the media clock: new calls are refused while it lags");
        }
        let now = tick.at;
        self.buffers.arrivals.look();
        let mut due = std::mem::take(&mut self.buffers.due);
        due.clear();
        due.extend((0..self.firsts.len()).filter(|key| is_due(self.firsts[*key], now)));
        for block in due.chunks(AHEAD) {
            self.prefetch_send(block, now);
            for key in block {
                if is_due(self.dues[*key].send, now) {
                    self.send(*key, now);
                }
            }
            self.prefetch_receive(block, now);
            for key in block {
                self.attend(*key, now);
            }
        }
        self.buffers.due = due;
    }

    /// Everything but the packets that leave.
    fn attend(&mut self, key: usize, now: Instant) {
        let Due { receive, timer, pings, settling, .. } = self.dues[key];
        if is_due(receive, now) || settling {
            self.receive(key, now);
        }
        if is_due(timer, now) {
            self.guarded(key, |slot, _| slot.call.handle_timeout(now), Self::note_due);
        }
        if is_due(pings, now) {
            self.ping(key, now);
        }
    }

    /// The calls of `block` that send now.
    fn prefetch_send(&self, block: &[usize], now: Instant) {
        let calls =
            || block.iter().filter(|key| is_due(self.dues[**key].send, now)).filter_map(|key| self.calls.get(*key));
        calls().for_each(|slot| slot.call.prefetch_send());
        calls().for_each(|slot| slot.call.prefetch_bot());
    }

    /// The calls of `block` that take audio now.
    fn prefetch_receive(&self, block: &[usize], now: Instant) {
        let calls =
            block.iter().filter(|key| is_due(self.dues[**key].receive, now)).filter_map(|key| self.calls.get(*key));
        for Slot { call, reader, .. } in calls {
            touch(*reader);
            call.prefetch_receive();
        }
    }

    /// Runs `act` on a call with the shard's buffers, then does what the call wants done and `note`s when it wants to be
    /// woken. A panic ends this call alone.
    pub(super) fn guarded(
        &mut self,
        key: usize,
        act: impl FnOnce(&mut Slot, &mut Buffers),
        note: fn(&mut Self, usize),
    ) {
        let Some(slot) = self.calls.get_mut(key) else { return };
        let buffers = &mut self.buffers;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            act(slot, buffers);
            if slot.call.is_copying() {
                slot.traced.take(&mut slot.call);
            }
        }));
        match outcome {
            Ok(()) if slot.call.has_output() => self.settle(key),
            Ok(()) => note(self, key),
            Err(_) => self.bury(key),
        }
    }

    /// What a call waits for after caller audio was taken: a digit may have begun, which ends in a while. What else it
    /// waits for has at most moved into the future, so that it is woken early once and says then when it wants to be.
    fn note_received(&mut self, key: usize) {
        let Some(Slot { call, .. }) = self.calls.get(key) else { return };
        let due = &mut self.dues[key];
        due.receive = call.next_receive();
        due.settling = call.is_settling();
        due.timer = due.timer.into_iter().chain(call.next_digit_end()).min();
        self.firsts[key] = due.first(self.epoch);
    }

    /// What a call waits for after a packet has left: nothing else has changed, unless it has something to say.
    fn note_sent(&mut self, key: usize) {
        let Some(Slot { call, .. }) = self.calls.get(key) else { return };
        let due = &mut self.dues[key];
        due.send = call.next_send();
        self.firsts[key] = due.first(self.epoch);
    }

    fn send(&mut self, key: usize, now: Instant) {
        let send = |Slot { call, rtp, .. }: &mut Slot, buffers: &mut Buffers| {
            call.send_packets(now, &mut buffers.scratch, |packet, to| {
                if let Err(error) = rtp_socket::send(rtp, packet, to)
                    && error.kind() != io::ErrorKind::ConnectionRefused
                {
                    debug!(%to, %error, "RTP packet not sent");
                }
            });
        };
        self.guarded(key, send, Self::note_sent);
    }

    pub(super) fn receive(&mut self, key: usize, now: Instant) {
        let receive = |Slot { call, rtp, reader, .. }: &mut Slot, buffers: &mut Buffers| {
            let Some(reading) = call.begin_reading(now) else { return };
            let Buffers { datagrams, arrivals, scratch, .. } = buffers;
            let wanted = (reading.packets as usize, reading.everything);
            reader.read(rtp, datagrams, wanted, |Datagram { from, octets, arrived }| {
                call.handle_packet(arrivals.instant(*arrived), *from, octets, scratch)
            });
            if reading.due {
                call.take_audio(now, scratch);
            }
        };
        self.guarded(key, receive, Self::note_received);
    }

    /// RTCP has come to the call that lives at `home`; at most 64 packets are taken at once.
    pub(in crate::server) fn receive_rtcp(&mut self, home: &Home, socket: &UdpSocket) {
        if !self.is_home(home) {
            return;
        }
        let now = Instant::now();
        let receive = |Slot { call, .. }: &mut Slot, buffers: &mut Buffers| {
            for _ in 0..DATAGRAMS_AT_ONCE {
                match socket.try_recv_from(&mut buffers.report) {
                    Ok((length, from)) => call.handle_rtcp(now, from, &buffers.report[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // An ICMP error of an earlier send.
                    Err(_) => {}
                }
            }
        };
        self.guarded(home.key, receive, Self::note_due);
    }

    fn ping(&mut self, key: usize, now: Instant) {
        let Some(Slot { streams, .. }) = self.calls.get(key) else { return };
        for (_, stream) in streams {
            if let Outgoing::Open(writer) = stream {
                writer.look(now);
            }
        }
        self.dues[key].pings = Some(now + PINGS_LOOK);
        self.firsts[key] = self.dues[key].first(self.epoch);
    }
}
