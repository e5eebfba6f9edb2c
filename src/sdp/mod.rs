//! Session descriptions and offer/answer (RFC 4566, RFC 3264).
//!
//! [`Negotiation`] is one dialog's side of it: an offer comes in and an answer goes out, or the other way round, and
//! what both agreed on is [`Negotiated`]. A refused offer changes nothing; [`Refusal`] says why.

mod crypto;
mod direction;
mod formats;
mod offer_answer;
mod refusal;
mod rules;
mod session;

pub use crypto::CryptoFault;
pub use offer_answer::{LocalMedia, Negotiated, Negotiation, TelephoneEvent};
pub use refusal::Refusal;
pub use rules::{AddressFault, AddressRules};
pub use session::DescriptionError;

#[cfg(test)]
mod tests;
