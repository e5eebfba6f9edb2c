//! `trunkstream call`: a test PBX for people who set up a bridge or a bot.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::callee::{self, WhyNot};
use super::capture::CaptureArgs;
use crate::base::pcm::SampleRate;
use crate::base::random::Random;
use crate::base::rtp_format::RtpFormat;
use crate::lab::capture::{Capture, Take};
use crate::lab::pbx::load::{self, LoadPlan};
use crate::lab::pbx::{
    CallPlan, CallReport, Callee, Impairment, Ladder, Line, LineSettings, LineSink, MediaSummary, Sound, local_address,
    place,
};
use crate::lab::speech::Speech;
use crate::lab::wav;
use crate::media::codec;
use crate::net::sip_tls::SipTls;

/// The caller speaks this long after the answer.
const BEFORE_SOUND: Duration = Duration::from_millis(200);
/// How long a call lasts where nothing says so.
const DEFAULT_LENGTH: Duration = Duration::from_secs(10);
/// Digits are pressed this long after a file's sound has ended …
const BEFORE_DIGITS: Duration = Duration::from_millis(300);
/// … and this long after the answer where the sound does not end.
const DIGITS_AT: Duration = Duration::from_secs(1);
/// A digit on the line: tone and pause.
const DIGIT: Duration = Duration::from_millis(200);
/// The caller listens this long after the last sound or digit.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Length of the synthetic speech before it begins anew, ms.
const SPEECH_MS: u32 = 10_000;

/// Run a test PBX: place calls over SIP and RTP, and tell what came of them
///
/// One call prints its SIP ladder and a summary of its RTP; --calls places many and prints a table.
/// The bridge needs a `[[trunk]]` that allows this machine's address; --account names the account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    trunkstream call sip:1000@127.0.0.1                        ten seconds of speech\n  \
    trunkstream call sip:1000@127.0.0.1 --play question.wav --record answer.wav\n  \
    trunkstream call sip:1000@127.0.0.1 --header 'X-UUI: customer=42' --dtmf 159#\n  \
    trunkstream call sip:1000@127.0.0.1 --loss 3 --jitter 60   a bad line\n  \
    trunkstream call sip:1000@10.0.0.5:5070 --account acme     a bridge elsewhere, another account\n  \
    trunkstream call 'sip:1000@pbx.example;transport=tls' --srtp  over TLS, RTP encrypted too\n  \
    trunkstream call sip:1000@127.0.0.1 --pcap call.pcap       a captured caller, losses and all\n  \
    trunkstream call sip:1000@pbx.example --user bob --password s3cret     a PBX that asks who calls\n  \
    trunkstream call 1000 --config trunkstream.toml --trunk pbx            out through a trunk, as the bridge would\n  \
    trunkstream call sip:1000@127.0.0.1 --calls 500 --rate 50 --duration 60\n\n\
    Exit codes: 0 every call was answered and ended well · 1 not so · 2 wrong arguments")]
pub struct CallArgs {
    /// Whom to call: sip:NUMBER@HOST[:PORT], the host a name or an address, with ;transport=tcp or ;transport=tls behind it, or
    /// sips:…; with --trunk a number
    #[arg(value_name = "SIP-URI")]
    pub(super) uri: String,
    /// Call out through this trunk of --config: to its destinations, with its credentials
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with_all = ["user", "password"])]
    pub(super) trunk: Option<String>,
    /// The configuration that has the trunk
    #[arg(long, value_name = "FILE", requires = "trunk")]
    pub(super) config: Option<PathBuf>,
    /// Who we are, where the other side asks (digest)
    #[arg(long, value_name = "NAME", requires = "password")]
    pub(super) user: Option<String>,
    /// The password: as it is, env:NAME or file:PATH
    #[arg(long, value_name = "SECRET", requires = "user")]
    pub(super) password: Option<String>,
    /// What the caller says: a WAV file, `speech` (synthetic, again and again) or `silence`
    #[arg(long, value_name = "WAV", default_value = "speech")]
    play: String,
    /// Send the RTP of this capture instead: its timing, losses, order and copies, under SSRCs of our own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["play", "dtmf", "pt"])]
    pcap: Option<PathBuf>,
    #[command(flatten)]
    capture: CaptureArgs,
    /// A header of the INVITE; can be given several times
    #[arg(long = "header", value_name = "'NAME: VALUE'", value_parser = header)]
    headers: Vec<(String, String)>,
    /// X-Exotel-AccountSid; '' leaves the header out [default: acc1, with --trunk none]
    #[arg(long, value_name = "SID")]
    account: Option<String>,
    /// The caller's number
    #[arg(long, value_name = "NUMBER", default_value = "5550100", value_parser = number)]
    from: String,
    /// Digits to press (RFC 4733), 0-9 * # A-D: after the WAV file, else one second after the answer
    #[arg(long, value_name = "DIGITS", default_value = "", hide_default_value = true, value_parser = digits)]
    dtmf: String,
    /// Write what the caller heard
    #[arg(long, value_name = "WAV", conflicts_with = "calls")]
    record: Option<PathBuf>,
    /// Place this many calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: Option<u32>,
    /// Calls a second
    #[arg(long, value_name = "R", default_value_t = 10.0, value_parser = rate, requires = "calls")]
    rate: f64,
    /// Hang up this many seconds after the answer [default: after the WAV file and the digits, else 10]
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    /// Lose this share of our own RTP, in percent
    #[arg(long, value_name = "%", default_value_t = 0.0, value_parser = share)]
    loss: f64,
    /// Delay each of our own RTP packets by up to this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    jitter: u64,
    /// Codecs to offer, the favourite first
    #[arg(long, value_name = "CODEC", value_delimiter = ',', default_value = "pcmu,pcma", value_parser = ["pcmu", "pcma", "g722", "opus", "l16"])]
    pt: Vec<String>,
    /// Encrypt RTP and RTCP, with keys in SDP (SRTP; the trunk needs `srtp`, and `allow_sdes_cleartext` unless it is TLS)
    #[arg(long)]
    srtp: bool,
    /// Require ringing and early media to be sent reliably (RFC 3262), and acknowledge them
    #[arg(long)]
    reliable: bool,
    /// Ask for a session timer of this many seconds (RFC 4028) and keep to it
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    session_expires: Option<u32>,
    /// Authorities of the callee's certificate, PEM, besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate, PEM, where the callee asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Take any certificate of the callee
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Our own address [default: the one that the route to the callee leaves from]
    #[arg(long, value_name = "IP")]
    local: Option<IpAddr>,
    /// Give up when there is no answer after this many seconds
    #[arg(long, value_name = "S", default_value = "32", value_parser = seconds)]
    timeout: Duration,
    /// Seeds losses, jitter, tags and SSRCs [default: from the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'NAME: VALUE'")?;
    let (name, value) = (name.trim(), value.trim());
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!("{name:?} is no header name"));
    }
    if value.contains(['\r', '\n']) {
        return Err("a header value is one line".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn number(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.*#".contains(c);
    let fits = !text.is_empty() && text.chars().all(plain);
    if fits { Ok(text.replace('#', "%23")) } else { Err("expected digits, perhaps with a leading +".into()) }
}

fn digits(text: &str) -> Result<String, String> {
    let wrong = text.chars().find(|c| !"0123456789*#ABCDabcd".contains(*c));
    wrong.map_or_else(|| Ok(text.to_ascii_uppercase()), |c| Err(format!("{c:?} is no key of a telephone")))
}

fn rate(text: &str) -> Result<f64, String> {
    in_range(text, 0.01, 1000.0)
}

fn share(text: &str) -> Result<f64, String> {
    in_range(text, 0.0, 100.0)
}

fn seconds(text: &str) -> Result<Duration, String> {
    in_range(text, 0.1, 86_400.0).map(Duration::from_secs_f64)
}

fn in_range(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

/// Places the calls and prints what came of them.
///
/// # Errors
/// A callee that cannot be reached, a file that cannot be read or written.
pub fn run(args: CallArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let callee = match callee::of(&args).await {
            Err(WhyNot::Arguments(text)) => return Ok(wrong(&text)),
            Err(WhyNot::Callee(error)) => return Err(error.into()),
            Ok(callee) => callee,
        };
        let how = How::of(&args);
        let plan = match plan(args, callee) {
            Ok(plan) => plan,
            Err(error) => return Ok(wrong(&error.to_string())),
        };
        let clean = call(how, plan).await?;
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

/// Arguments that cannot be meant so.
fn wrong(why: &str) -> ExitCode {
    eprintln!("trunkstream: {why}");
    ExitCode::from(2)
}

/// What is not part of a single call.
struct How {
    local: Option<IpAddr>,
    calls: Option<u32>,
    rate: f64,
    record: Option<PathBuf>,
    seed: u64,
    ca: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
    insecure: bool,
}

impl How {
    fn of(args: &CallArgs) -> Self {
        let seed = args.seed.unwrap_or_else(clock_seed);
        let CallArgs { local, calls, rate, insecure, .. } = *args;
        Self {
            local,
            calls,
            rate,
            record: args.record.clone(),
            seed,
            ca: args.ca.clone(),
            own: args.cert.clone().zip(args.key.clone()),
            insecure,
        }
    }
}

async fn call(how: How, mut plan: CallPlan) -> anyhow::Result<bool> {
    let How { local, calls, rate, record, seed, ca, own, insecure } = how;
    let address = local.map_or_else(|| local_address(plan.callee.address), Ok)?;
    callee::reach(address, &mut plan.callee).await?;
    let (callee, transport) = (plan.callee.address, plan.callee.transport);
    let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let tls = transport.is_secure().then(|| SipTls::dialling(ca.as_deref(), insecure, own));
    let tls = tls.transpose().context("SIP over TLS")?.map(Arc::new);
    let names = vec![(callee, plan.callee.host.clone())];
    let print: LineSink = Arc::new(|line: &str| println!("{line}"));
    let ladder = calls.is_none().then(|| print.clone());
    let line = Line::open(&LineSettings { address, transport, tls, names, ladder, seed })
        .with_context(|| format!("cannot use {address}"))?;
    let line = Arc::new(line);
    stop_at_interrupt(line.clone());
    match calls {
        None => one(&line, &plan, seed, record.as_deref()).await,
        Some(calls) => {
            let load = LoadPlan { calls, rate, call: plan, seed };
            let report = load::run(line, load, Some(print)).await;
            println!("\n{}", report.table());
            Ok(report.is_clean() && report.calls == calls)
        }
    }
}

async fn one(line: &Line, plan: &CallPlan, seed: u64, record: Option<&Path>) -> anyhow::Result<bool> {
    println!("{}", Ladder::head(("caller", line.address()), ("callee", plan.callee.address)));
    let report = place(line, plan, Random::from_number(seed)).await;
    // What the line has left to draw comes before the summary.
    tokio::task::yield_now().await;
    println!();
    print_report(&report);
    if let (Some(path), Some(media)) = (record, &report.media) {
        let (rate, samples) = (media.heard.rate(), media.heard.samples());
        wav::write(path, rate, samples)?;
        row("recording", &format!("{} of {:.1} s", path.display(), samples.len() as f64 / f64::from(rate.hz())));
    }
    Ok(report.outcome.is_normal())
}

fn print_report(report: &CallReport) {
    row("call", &report.outcome.to_string());
    if let Some(result) = report.outcome.result() {
        let detail = result.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        row("result", &format!("{}{detail}", result.word()));
    }
    if let Some(hint) = report.outcome.hint() {
        row("", &format!("-> {hint}"));
    }
    if let Some(setup) = report.setup {
        let answer =
            format!("after {:.0} ms; the call took {:.1} s", setup.as_secs_f64() * 1e3, report.length.as_secs_f64());
        row("answer", &answer);
    }
    if let Some(media) = &report.media {
        print_media(media);
    }
}

fn print_media(media: &MediaSummary) {
    for (name, value) in media.lines() {
        row(name, &value);
    }
    if media.digits_refused {
        row("digits", "not sent: the other side does not take telephone-events (RFC 4733)");
    }
    if media.heard.received() == 0 {
        row("", "-> nothing came back: is the address above reachable for the bridge? (firewall, NAT, --local)");
    }
}

/// One line of the summary.
pub(super) fn row(name: &str, value: &str) {
    println!("  {name:<15} {value}");
}

fn plan(args: CallArgs, callee: Callee) -> anyhow::Result<CallPlan> {
    args.record.as_deref().map(wav::probe).transpose()?;
    let capture = capture(&args)?;
    let (sound, natural) = match &capture {
        Some(take) => (Sound::silence(), take.length() + AFTERWARDS),
        None => sound(&args.play)?,
    };
    let mut headers = args.headers;
    let account = args.account.unwrap_or_else(|| if args.trunk.is_some() { String::new() } else { "acc1".to_owned() });
    if !account.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("X-Exotel-AccountSid")) {
        headers.insert(0, ("X-Exotel-AccountSid".to_owned(), account));
    }
    headers.extend(args.reliable.then(|| ("Require".to_owned(), "100rel".to_owned())));
    headers.extend(args.session_expires.map(|seconds| ("Session-Expires".to_owned(), seconds.to_string())));
    let digits_at = if sound.again || sound.samples.is_empty() { DIGITS_AT } else { sound.end() + BEFORE_DIGITS };
    let digits_take = DIGIT * u32::try_from(args.dtmf.len()).unwrap_or(u32::MAX);
    let digits_end = if args.dtmf.is_empty() { Duration::ZERO } else { digits_at + digits_take };
    let duration = args.duration.unwrap_or_else(|| natural.max(digits_end + AFTERWARDS));
    ensure!(
        digits_end <= duration,
        "--duration {} ends the call before the digits are through, which is at {:.1} s",
        duration.as_secs_f64(),
        digits_end.as_secs_f64()
    );
    Ok(CallPlan {
        callee,
        from: args.from,
        headers,
        sound,
        formats: match &capture {
            Some(take) => vec![take.format],
            None => args.pt.iter().flat_map(|name| formats(name)).collect(),
        },
        capture,
        digits: args.dtmf,
        digits_at,
        duration,
        patience: args.timeout,
        srtp: args.srtp,
        impairment: Impairment { loss_percent: args.loss, jitter: Duration::from_millis(args.jitter) },
        record: args.record.is_some(),
    })
}

/// The captured stream to send, where one is asked for.
fn capture(args: &CallArgs) -> anyhow::Result<Option<Arc<Take>>> {
    let Some(file) = &args.pcap else {
        args.capture.ensure_unused()?;
        return Ok(None);
    };
    Ok(Some(Arc::new(Capture::open(file)?.take(args.capture.choice())?)))
}

/// What is said, and how long a call with it takes by itself.
fn sound(play: &str) -> anyhow::Result<(Sound, Duration)> {
    let (samples, again) = match play {
        "silence" => return Ok((Sound::silence(), DEFAULT_LENGTH)),
        "speech" => (Speech::new(SampleRate::Hz8000, 1).take(SampleRate::Hz8000.samples(SPEECH_MS)), true),
        file => (wav::read_8khz(Path::new(file))?, false),
    };
    ensure!(!samples.is_empty(), "{play} has no sound in it");
    let sound = Sound { samples: samples.into(), after: BEFORE_SOUND, again };
    let natural = if again { DEFAULT_LENGTH } else { sound.end() + AFTERWARDS };
    Ok((sound, natural))
}

/// The formats of that name; linear PCM has two.
fn formats(name: &str) -> impl Iterator<Item = RtpFormat> {
    codec::formats().into_iter().filter(move |format| format.encoding_name.eq_ignore_ascii_case(name))
}

/// Two runs are two different callers.
fn clock_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40)
}

/// Ctrl-C hangs up; a second one ends the program.
fn stop_at_interrupt(line: Arc<Line>) {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            line.stop();
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        }
    });
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;
    use crate::base::rtp_format::{L16, L16_WIDE, OPUS, PCMA};

    fn parse(line: &str) -> anyhow::Result<CallPlan> {
        let command = CallArgs::augment_args(Command::new("call"));
        let args = CallArgs::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)?;
        plan(args, Callee::at("sip:1000@192.0.2.1", ([192, 0, 2, 1], 5060).into()))
    }

    #[test]
    fn a_call_names_its_account_unless_told_otherwise() {
        let account = |line: &str| -> Vec<String> {
            let headers = parse(line).expect("good arguments").headers;
            headers.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(account("call 1"), ["X-Exotel-AccountSid=acc1"]);
        assert_eq!(account("call 1 --account="), [""; 0]);
        assert_eq!(account("call 1 --header x-exotel-accountsid:other"), ["x-exotel-accountsid=other"]);
        assert_eq!(account("call 1 --header X-UUI:a:b")[1], "X-UUI=a:b");
    }

    #[test]
    fn a_call_lasts_as_long_as_its_sound_and_digits_take() {
        let length = |line: &str| parse(line).expect("good arguments").duration;
        assert_eq!(length("call 1"), DEFAULT_LENGTH);
        assert_eq!(length("call 1 --duration 2.5"), Duration::from_millis(2500));
        assert_eq!(length("call 1 --dtmf 159#"), DEFAULT_LENGTH);
        let long = format!("call 1 --dtmf {}", "7".repeat(60));
        assert_eq!(length(&long), Duration::from_secs(1 + 12 + 1));
        assert!(parse("call 1 --dtmf 159# --duration 1.5").is_err_and(|error| error.to_string().contains("1.8 s")));
    }

    #[test]
    fn a_captured_caller_offers_its_own_codec_and_stays_as_long_as_it_did() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pcap/speech_pcma_30ms.pcap");
        let plan = parse(&format!("call 1 --pcap {file}")).expect("a capture");
        assert_eq!((plan.formats, plan.duration), (vec![PCMA], Duration::from_millis(5970) + AFTERWARDS));
        assert_eq!(plan.capture.map(|take| take.packets.len()), Some(200));
        for wrong in [format!("--pcap {file} --dtmf 1"), format!("--pcap {file} --stream 2"), "--stream 1".to_owned()] {
            assert!(parse(&format!("call 1 {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in ["--dtmf 1x", "--loss 101", "--pt g729", "--header X-UUI", "--rate 5", "--calls 2 --record a.wav"]
        {
            assert!(parse(&format!("call 1 {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse("call 1 --play /does/not/exist.wav").is_err());
        assert!(parse("call 1 --record /does/not/exist.wav").is_err(), "known before the call");
        assert!(parse("call 1 --srtp").is_ok_and(|plan| plan.srtp));
        assert_eq!(parse("call 1 --pt pcma").expect("a codec").formats, [PCMA]);
        assert_eq!(parse("call 1 --pt opus,l16").expect("codecs").formats, [OPUS, L16_WIDE, L16]);
    }
}
