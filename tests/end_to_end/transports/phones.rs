//! baresip, another vendor's phone, calls the bridge and hears the bot: over UDP, TCP and TLS with SRTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use trunkstream::base::pcm::SampleRate;
use trunkstream::lab::bot::{Bot as EchoBot, BotMode, BotSettings};
use trunkstream::lab::wav;

use super::{Authority, needs};
use crate::bridge::{Bridge, NUMBER, Setup, directory, free_address};
use crate::within;

/// The caller's whistle. Hz.
const WHISTLE: f64 = 440.0;

/// What baresip wrote of a call of four seconds, and its log.
struct Heard {
    samples: Vec<i16>,
    log: String,
}

/// Calls `uri` by `transport`; `lines` are settings of the account.
async fn baresip(uri: String, transport: &'static str, lines: &str, authority: Option<&Path>) -> Heard {
    needs("baresip", "baresip-core");
    let folder = directory();
    let whistle: Vec<i16> = (0..SampleRate::Hz8000.samples(20_000))
        .map(|n| (8000.0 * (std::f64::consts::TAU * WHISTLE * n as f64 / 8000.0).sin()) as i16)
        .collect();
    wav::write(&folder.join("whistle.wav"), SampleRate::Hz8000, &whistle).expect("target/tmp can be written");
    let modules = modules();
    let authority = authority.map(|file| format!("sip_cafile {}\n", file.display())).unwrap_or_default();
    let config = format!(
        "sip_listen {}\n{authority}net_interface 127.0.0.1\naudio_source aufile,{folder}/whistle.wav\n\
         audio_player aubridge,phone\naudio_alert aubridge,bell\nsnd_path {folder}\nmodule_path {}\nmodule g711.so\n\
         module aufile.so\nmodule aubridge.so\nmodule sndfile.so\nmodule srtp.so\nmodule_app account.so\n\
         module_app menu.so\n",
        free_address(),
        modules.display(),
        folder = folder.display(),
    );
    let account = format!("<sip:caller@127.0.0.1;transport={transport}>;regint=0;audio_codecs=PCMU/8000/1{lines}\n");
    for (name, text) in [("config", config.as_str()), ("accounts", &account), ("contacts", "")] {
        std::fs::write(folder.join(name), text).expect("target/tmp can be written");
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=2", "20", "baresip", "-f"]).arg(&folder).args(["-t", "4", "-e"]);
    command.arg(format!("/dial {uri};transport={transport}")).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output().expect("baresip runs"));
    let output = within(30, "baresip is done", run).await.expect("no panic");
    let log = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let dumps = std::fs::read_dir(&folder).expect("our folder").flatten().map(|entry| entry.path());
    let heard = dumps.into_iter().find(|path| path.to_string_lossy().ends_with("-dec.wav"));
    let heard = heard.unwrap_or_else(|| panic!("baresip heard nothing:\n{log}"));
    let samples = wav::read_8khz(&heard).expect("a recording");
    std::fs::remove_dir_all(&folder).expect("our folder");
    Heard { samples, log }
}

/// Where Debian, or another system, has baresip's modules.
fn modules() -> PathBuf {
    let multiarch = format!("/usr/lib/{}-linux-gnu/baresip/modules", std::env::consts::ARCH);
    let known = ["/usr/lib/baresip/modules", &multiarch, "/usr/local/lib/baresip/modules"];
    let found = known.iter().map(PathBuf::from).find(|path| path.join("g711.so").exists());
    found.expect("baresip's modules are with it: sudo apt-get install -y baresip-core")
}

/// The share of the whistle in what was heard, silence at either end not counted.
fn whistle(samples: &[i16]) -> f64 {
    let loud = |sample: &i16| sample.unsigned_abs() > 1000;
    let (first, last) = (samples.iter().position(loud), samples.iter().rposition(loud));
    let Some((first, last)) = first.zip(last) else { return 0.0 };
    let heard = &samples[first..=last];
    let (mut real, mut imaginary, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in heard.iter().map(|sample| f64::from(*sample)).enumerate() {
        let phase = std::f64::consts::TAU * WHISTLE * n as f64 / 8000.0;
        (real, imaginary, power) =
            (real + sample * phase.cos(), imaginary + sample * phase.sin(), power + sample * sample);
    }
    2.0 * (real * real + imaginary * imaginary) / (power * heard.len() as f64)
}

struct Setting {
    bridge: Bridge,
    stream: SocketAddr,
    authority: Authority,
    _bot: EchoBot,
}

impl Setting {
    async fn start(transport: &str, srtp: &str) -> Self {
        let (bot, authority) =
            (EchoBot::start(BotSettings::new(BotMode::Echo)).await.expect("a port"), Authority::new());
        let stream = free_address();
        let mut setup = Setup::to(&bot.url("/media"));
        setup.listen = vec![format!("{transport}:{stream}")];
        setup.trunk = format!("account_header = \"optional\"\nallow = [\"{transport}:127.0.0.1\"]\nsrtp = {srtp:?}");
        if transport == "udp" {
            setup.listen.clear();
        }
        if transport == "tls" {
            let (certificate, key) = authority.sign("127.0.0.1");
            setup.sip = format!("tls_certificate_file = {certificate:?}\ntls_key_file = {key:?}");
        }
        Self { bridge: Bridge::start(&setup).await, stream, authority, _bot: bot }
    }

    /// The call was up, and its echo was the caller's whistle.
    async fn judge(&self, heard: Heard) {
        let record = self.bridge.record(1).await;
        assert!(record["answered_after_ms"].is_u64() && record.to_string().contains("caller_hangup"), "{record}");
        let seconds = Duration::from_millis(heard.samples.len() as u64 / 8);
        let share = whistle(&heard.samples);
        println!("{seconds:?} heard, {share:.3} of it the whistle");
        assert!(seconds > Duration::from_secs(2) && share > 0.9, "{seconds:?}, {share}:\n{}", heard.log);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_calls_over_udp_and_hears_the_echo() {
    let setting = Setting::start("udp", "off").await;
    let heard = baresip(format!("sip:{NUMBER}@{}", setting.bridge.sip), "udp", "", None).await;
    setting.judge(heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_calls_over_tcp_and_hears_the_echo() {
    let setting = Setting::start("tcp", "off").await;
    let heard = baresip(format!("sip:{NUMBER}@{}", setting.stream), "tcp", "", None).await;
    setting.judge(heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_calls_over_tls_with_srtp_and_hears_the_echo() {
    let setting = Setting::start("tls", "required").await;
    let authority = setting.authority.file();
    let uri = format!("sip:{NUMBER}@{}", setting.stream);
    let heard = baresip(uri, "tls", ";mediaenc=srtp-mand", Some(&authority)).await;
    setting.judge(heard).await;
}
