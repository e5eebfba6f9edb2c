//! What is asked of DNS for SIP, and what it answers (RFC 3263): a question, its records, nothing about how they are fetched.

use std::net::IpAddr;

/// One question, about a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// Which services are there?
    Naptr(String),
    /// Which servers have this service?
    Srv(String),
    /// Which addresses has this host?
    Addresses(String),
}

/// What came back; empty lists where there is no such record, or nobody who knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Naptr`].
    Naptr(Vec<Naptr>),
    /// To [`Query::Srv`].
    Srv(Vec<Srv>),
    /// To [`Query::Addresses`].
    Addresses(Vec<IpAddr>),
}

/// A NAPTR record (RFC 3403).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones come first, and alone where they can be used.
    pub order: u16,
    /// Lower ones come first among those of one order.
    pub preference: u16,
    /// `s`: the replacement is the name of SRV records.
    pub flags: String,
    /// `SIP+D2U`: SIP over UDP.
    pub services: String,
    /// The name to go on with.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones come first.
    pub priority: u16,
    /// The share of those of one priority.
    pub weight: u16,
    /// The server's port.
    pub port: u16,
    /// The server's name; empty or `.` where the service is decidedly not there.
    pub target: String,
}
