//! Logins, and where calls out go.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::config::login::SecretOwner;
use crate::config::report::Report;
use crate::config::{Digest, DigestAlgorithm, Login, Outgoing, Register, SecretSource, UnreadSecret, raw, value};

use super::{each, one, seconds};

/// Characters of a signing key at least.
const KEY_LENGTH: usize = 16;

pub(super) fn auth(path: &str, raw: Option<&raw::Auth>, report: &mut Report) -> Option<Arc<Login>> {
    let raw = raw?;
    let username = one(&format!("{path}.auth.username"), &raw.username, printable, report)?;
    let password = one(&format!("{path}.auth.password"), &raw.password, printable, report)?;
    let elsewhere = SecretSource::parse(&password).is_some();
    let password = SecretString::from(if elsewhere { String::new() } else { password });
    Some(Arc::new(Login { username, password }))
}

fn printable(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 255 && !text.contains(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("expected 1 to 255 printable characters".to_owned()) }
}

pub(super) fn outgoing(path: &str, raw: &raw::Trunk, report: &mut Report) -> Outgoing {
    let destinations = each(&format!("{path}.destinations"), &raw.destinations, value::destination, report);
    let register = raw.register.as_ref().and_then(|register| self::register(path, raw, register, report));
    Outgoing {
        destinations,
        no_response: seconds(raw.no_response_seconds),
        keepalive: (raw.keepalive_seconds > 0).then(|| seconds(raw.keepalive_seconds)),
        register,
    }
}

fn register(path: &str, raw: &raw::Trunk, register: &raw::Register, report: &mut Report) -> Option<Register> {
    let path = format!("{path}.register");
    let Some(first) = raw.destinations.first() else {
        report.wrong(&path, "a registration goes to the first of destinations, and there is none");
        return None;
    };
    let user = register.user.as_deref().or(raw.auth.as_ref().map(|auth| auth.username.as_str())).unwrap_or_default();
    let user = one(&format!("{path}.user"), user, user_part, report)?;
    let domain = match &register.domain {
        Some(domain) => one(&format!("{path}.domain"), domain, domain_of, report)?,
        // A destination that cannot be read is told of where it stands.
        None => value::destination(first).ok()?.to_string(),
    };
    Some(Register { user, domain, expires: Duration::from_secs(register.expires_seconds.into()) })
}

fn user_part(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,?/%".contains(c);
    let fits = !text.is_empty() && text.chars().all(plain);
    if fits { Ok(text.to_owned()) } else { Err(format!("expected the user part of a SIP URI, found \"{text}\"")) }
}

fn domain_of(text: &str) -> Result<String, String> {
    value::destination(text).map(|destination| destination.to_string())
}

pub(super) fn digest(raw: &raw::Sip, report: &mut Report) -> Digest {
    let realm = one("sip.digest_realm", &raw.digest_realm, printable, report).unwrap_or_default();
    let own = raw.digest_key.as_deref().filter(|text| SecretSource::parse(text).is_none());
    if own.is_some_and(|key| key.chars().count() < KEY_LENGTH) {
        report.wrong("sip.digest_key", format!("expected at least {KEY_LENGTH} characters, env:NAME or file:PATH"));
    }
    let algorithms = each("sip.digest_algorithms", &raw.digest_algorithms, algorithm, report);
    if raw.digest_algorithms.is_empty() {
        report.wrong("sip.digest_algorithms", "expected at least one algorithm");
    }
    Digest { realm, key: own.map(|key| SecretString::from(key.to_owned())), algorithms }
}

fn algorithm(text: &str) -> Result<DigestAlgorithm, String> {
    let known = DigestAlgorithm::ALL.into_iter().find(|known| known.name() == text);
    known.ok_or_else(|| format!("expected \"SHA-256\", \"SHA-512-256\" or \"MD5\", found \"{text}\""))
}

/// Every secret that stands elsewhere.
pub(super) fn secrets(raw: &raw::Raw, report: &Report) -> Vec<UnreadSecret> {
    let unread = |owner, path: &str, text: Option<&String>| {
        let source = SecretSource::parse(text?)?;
        Some(UnreadSecret { owner, source, key: report.shown(path), place: report.place(path) })
    };
    let key = unread(SecretOwner::DigestKey, "sip.digest_key", raw.sip.digest_key.as_ref());
    let trunks = raw.trunk.iter().enumerate().filter_map(|(i, trunk)| {
        let password = trunk.auth.as_ref().map(|auth| &auth.password);
        unread(SecretOwner::Trunk(i), &format!("trunk[{i}].auth.password"), password)
    });
    key.into_iter().chain(trunks).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use crate::config::{Config, DestinationHost, SecretSource};

    fn load(sip: &str, trunk: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n{sip}[media]\nlisten_address = \"192.0.2.10\"\n\
             [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\n{trunk}"
        );
        let problems =
            |found: Vec<crate::config::Problem>| found.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
        Config::from_toml("t.toml", &text, None).map_err(problems)
    }

    const AUTH: &str = "auth = { username = \"u\", password = \"env:SECRET\" }\n";

    #[test]
    fn a_trunk_needs_networks_credentials_or_destinations() {
        assert!(load("", AUTH).is_ok());
        assert!(load("", "destinations = [\"pbx.example\"]\n").is_ok());
        let wrong = load("", "").expect_err("who is it?");
        assert!(wrong[0].starts_with("trunk.pbx.allow: is missing"), "{wrong:?}");
    }

    #[test]
    fn secrets_that_stand_elsewhere_are_read_and_told_of_by_their_key() {
        let mut config = load("digest_key = \"file:/key\"\n", AUTH).expect("a good configuration");
        let read = |source: &SecretSource| match source {
            SecretSource::Env(name) => Ok(format!("{name}!").into()),
            SecretSource::File(path) => Err(format!("{} is not there", path.display())),
        };
        let problems = config.read_secrets(&read).expect_err("no such file");
        assert_eq!(problems[0].to_string(), "t.toml:3: sip.digest_key: /key is not there");
        let login = config.trunks[0].auth.clone().expect("credentials");
        assert_eq!((login.username.as_str(), login.password.expose_secret()), ("u", "SECRET!"));
        assert!(!format!("{config:?}").contains("SECRET!"), "SIP-116");
    }

    #[test]
    fn destinations_are_hosts_with_or_without_port_and_transport() {
        let trunk =
            "destinations = [\"sip:192.0.2.1\", \"PBX.example:5070;transport=udp\", \"sip:[2001:db8::1]:5080\"]\n";
        let config = load("", trunk).expect("a good configuration");
        let outgoing = &config.trunks[0].outgoing;
        let shown: Vec<String> = outgoing.destinations.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1", "pbx.example:5070", "[2001:db8::1]:5080"]);
        assert_eq!(outgoing.destinations[1].host, DestinationHost::Name("pbx.example".into()));
        assert_eq!((outgoing.no_response.as_secs(), outgoing.keepalive.map(|every| every.as_secs())), (6, Some(30)));
        for wrong in
            ["sips:pbx.example", "sip:a@pbx.example", "pbx.example:0", "pbx.example;transport=tcp", "1.2.3", "", "a b"]
        {
            let found = load("", &format!("destinations = [{wrong:?}]\n")).expect_err(wrong);
            assert!(found[0].starts_with("trunk.pbx.destinations: "), "{found:?}");
        }
    }

    #[test]
    fn a_registration_takes_user_and_domain_from_elsewhere_unless_given() {
        let to = "destinations = [\"sip:pbx.example:5070\"]\n";
        let register = |text: &str| {
            let config = load("", &format!("{AUTH}{to}{text}")).expect("a good configuration");
            let own = config.trunks[0].outgoing.register.clone().expect("a registration");
            (own.user, own.domain, own.expires.as_secs())
        };
        assert_eq!(register("register = {}\n"), ("u".into(), "pbx.example:5070".into(), 600));
        let full = "register = { user = \"me\", domain = \"example.org\", expires_seconds = 60 }\n";
        assert_eq!(register(full), ("me".into(), "example.org".into(), 60));
        for wrong in [
            format!("{AUTH}register = {{}}\n"),
            format!("{to}register = {{}}\n"),
            format!("{AUTH}{to}register = {{ user = \"a b\" }}\n"),
        ] {
            assert!(load("", &wrong).is_err_and(|found| found[0].starts_with("trunk.pbx.register")), "{wrong}");
        }
    }

    #[test]
    fn keys_and_names_that_cannot_work_are_refused() {
        for (sip, trunk, expected) in [
            ("digest_key = \"short\"\n", AUTH, "sip.digest_key: expected at least 16"),
            ("digest_algorithms = [\"SHA-1\"]\n", AUTH, "sip.digest_algorithms: expected \"SHA-256\""),
            ("digest_algorithms = []\n", AUTH, "sip.digest_algorithms: expected at least one"),
            ("", "auth = { username = \"\", password = \"x\" }\n", "trunk.pbx.auth.username: expected 1 to 255"),
            ("", "auth = { username = \"u\" }\n", "trunk.pbx.auth.password: is missing"),
            (
                "",
                &format!("{AUTH}[[trunk]]\nname = \"b\"\naccount = \"acc1\"\n{AUTH}"),
                "trunk.b.auth.username: another trunk",
            ),
        ] {
            let found = load(sip, trunk).expect_err(expected);
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}: {found:?}");
        }
    }
}
