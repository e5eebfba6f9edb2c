//! How a trunk's headers become custom parameters, and User-to-User in both directions.

/// Header mapping of one trunk (HDR-010 to HDR-024).
#[derive(Debug, Clone)]
pub struct HeaderRules {
    /// Globs taken first and never denied.
    pub allow: Vec<String>,
    /// Globs of infrastructure headers (HDR-015).
    pub deny: Vec<String>,
    /// Bytes a value may have (HDR-014).
    pub value_max_bytes: usize,
    /// Keys at most.
    pub max_keys: usize,
    /// Bytes of keys and values together.
    pub total_max_bytes: usize,
    /// On the same key the header wins over the URL (HDR-016).
    pub header_first: bool,
    /// HDR-021.
    pub uui_default_encoding: UuiEncoding,
    /// HDR-023.
    pub pd_strip: PdStrip,
    /// Avaya shared UUI is taken apart (HDR-024).
    pub uui_avaya: bool,
    /// Standard headers that become custom parameters, in their usual spelling (HDR-027).
    pub expose: Vec<&'static str>,
}

/// How User-to-User is sent (HDR-025).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UuiSending {
    /// The protocol discriminator put before the data.
    pub discriminator: Option<u8>,
    /// X-UUI goes out too, as text.
    pub x_uui: bool,
    /// Text beyond ASCII is not sent.
    pub ascii_only: bool,
}

/// What a User-to-User value without `encoding` is (HDR-021).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UuiEncoding {
    /// Decided by its look.
    Auto,
    /// Always hex (RFC 7434).
    Hex,
    /// Always text.
    Text,
}

/// Whether the protocol discriminator octet is removed (HDR-023).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PdStrip {
    /// Decided by purpose, `pd` and look.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
