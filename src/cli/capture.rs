//! What `replay` and `call --pcap` both ask for: which stream of a capture, and what its payload types mean.

use anyhow::ensure;

use crate::base::rtp_format::RtpFormat;
use crate::lab::capture::Choice;
use crate::media::codec;

/// Which stream of a capture.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct CaptureArgs {
    /// Of a capture with several RTP streams, the number of the one to take [default: the sender of the first INVITE]
    #[arg(long, value_name = "N", value_parser = stream)]
    stream: Option<usize>,
    /// Take only the packets of this SSRC, hexadecimal
    #[arg(long, value_name = "HEX", value_parser = ssrc)]
    ssrc: Option<u32>,
    /// The codec, where neither the payload type nor SIP in the capture tells: NAME or NAME/RATE
    #[arg(long, value_name = "CODEC", value_parser = format)]
    codec: Option<RtpFormat>,
}

impl CaptureArgs {
    pub(super) fn choice(self) -> Choice {
        Choice { stream: self.stream, ssrc: self.ssrc, codec: self.codec }
    }

    /// For a command that may do without a capture.
    pub(super) fn ensure_unused(self) -> anyhow::Result<()> {
        ensure!(
            self.choice() == Choice::default(),
            "--stream, --ssrc and --codec speak of a capture: --pcap is missing"
        );
        Ok(())
    }
}

fn stream(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "streams are counted from 1".into())
}

fn ssrc(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u32::from_str_radix(digits, 16).map_err(|_| "expected up to eight hexadecimal digits".into())
}

fn format(text: &str) -> Result<RtpFormat, String> {
    let (name, rate) = text.split_once('/').map_or((text, None), |(name, rate)| (name, Some(rate)));
    let fits = |format: &RtpFormat| {
        format.encoding_name.eq_ignore_ascii_case(name) && rate.is_none_or(|rate| rate.parse() == Ok(format.clock_rate))
    };
    let formats = codec::formats();
    formats.iter().copied().find(fits).ok_or_else(|| {
        let ours: Vec<String> = formats.iter().map(|format| format.encoding_name.to_lowercase()).collect();
        format!("expected one of {}", ours.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rtp_format::PCMA;

    #[test]
    fn a_stream_is_a_number_an_ssrc_is_hexadecimal_and_a_codec_is_one_of_ours() {
        assert_eq!((stream("2"), stream("0").is_err()), (Ok(2), true));
        assert_eq!((ssrc("0xdeadBEEF"), ssrc("7"), ssrc("g").is_err()), (Ok(0xDEAD_BEEF), Ok(7), true));
        assert_eq!((format("pcma"), format("PCMA/8000")), (Ok(PCMA), Ok(PCMA)));
        assert!(format("pcma/16000").is_err());
        assert!(format("g729").is_err_and(|said| said.contains("pcmu")));
    }
}
