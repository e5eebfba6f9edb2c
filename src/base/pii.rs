//! Personal data and credentials: printed by length only (SIP-116).

use std::fmt;

/// Wraps what must not appear in a log: `Debug` and `Display` show only how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pii<T>(pub T);

impl<T: AsRef<[u8]>> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.as_ref().len())
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A telephone number with all but its last two digits masked; short ones are masked whole.
pub struct MaskedNumber<'a>(pub &'a str);

impl fmt::Display for MaskedNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.chars().count();
        let shown = if count > 4 { count - 2 } else { count };
        for (position, c) in self.0.chars().enumerate() {
            let masked = position < shown && c.is_ascii_alphanumeric();
            write!(f, "{}", if masked { 'x' } else { c })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_116_a_value_prints_its_length_only() {
        assert_eq!(format!("{} {:?}", Pii("secret"), Pii("secret")), "<6 bytes> <6 bytes>");
    }

    #[test]
    fn a_number_keeps_its_last_two_digits() {
        assert_eq!(MaskedNumber("+919876543210").to_string(), "+xxxxxxxxxx10");
        assert_eq!(MaskedNumber("1000").to_string(), "xxxx");
    }
}
