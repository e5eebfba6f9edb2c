//! The direction attributes (RFC 4566 section 6, RFC 3264 sections 5.1 and 6.1).

/// Which way media flows, seen from whoever wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Direction {
    /// `a=sendrecv`, and the default where nothing is said.
    #[default]
    SendRecv,
    /// `a=sendonly`: the form in which most peers put a call on hold.
    SendOnly,
    /// `a=recvonly`.
    RecvOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    /// The direction that an attribute's name means; `None` for any other attribute.
    pub(super) fn from_attribute(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.attribute().eq_ignore_ascii_case(name))
    }

    /// The attribute's name.
    pub(super) const fn attribute(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// What the other side answers when it wants whatever is left to it (SDP-009).
    pub(super) const fn answered(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub(super) const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer listens.
    pub(super) const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_009_each_direction_has_its_answer() {
        for (offered, answered) in
            [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("RecvOnly", "sendonly"), ("inactive", "inactive")]
        {
            let direction = Direction::from_attribute(offered).expect("a direction");
            assert_eq!(direction.answered().attribute(), answered);
            assert_eq!(direction.sends(), direction.answered().receives());
            assert_eq!(direction.receives(), direction.answered().sends());
        }
        assert_eq!(Direction::from_attribute("ptime"), None);
    }
}
