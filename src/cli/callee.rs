//! Whom `trunkstream call` calls: a SIP URI, whose host DNS may have to find, or a number through a trunk of a configuration.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::call::CallArgs;
use super::{check, secret};
use crate::config::{Login, SecretSource};
use crate::lab::pbx::{Callee, CalleeError, Place, is_number, probe};
use crate::server::locate::locate_once;

/// Why there is nobody to call.
pub(super) enum WhyNot {
    /// The arguments, or the configuration they name.
    Arguments(String),
    /// The callee.
    Callee(CalleeError),
}

/// The callee of these arguments.
pub(super) async fn of(args: &CallArgs) -> Result<Callee, WhyNot> {
    match (&args.trunk, &args.config) {
        (Some(trunk), Some(config)) => through(trunk, config, &args.uri).await,
        _ => direct(args).await,
    }
}

async fn direct(args: &CallArgs) -> Result<Callee, WhyNot> {
    let place = Place::parse(&args.uri).map_err(|error| match error {
        CalleeError::Uri(..) | CalleeError::Number(_) | CalleeError::Transport(_) => {
            WhyNot::Arguments(error.to_string())
        }
        other => WhyNot::Callee(other),
    })?;
    let login = login(args).map_err(WhyNot::Arguments)?;
    let found = locate_once(std::slice::from_ref(&place.destination)).await;
    let addresses: Vec<_> = found.into_iter().map(|target| target.address).collect();
    let callee = Callee::at_one_of(&place, &addresses, login);
    callee.ok_or_else(|| WhyNot::Callee(CalleeError::Host(place.destination.to_string())))
}

fn login(args: &CallArgs) -> Result<Option<Arc<Login>>, String> {
    let (Some(user), Some(password)) = (&args.user, &args.password) else { return Ok(None) };
    let password = match SecretSource::parse(password) {
        Some(source) => secret::read(&source)?,
        None => password.clone().into(),
    };
    Ok(Some(Arc::new(Login { username: user.clone(), password })))
}

async fn through(name: &str, file: &Path, number: &str) -> Result<Callee, WhyNot> {
    let wrong = |text: String| WhyNot::Arguments(text);
    let config = check::load(file, &super::flow_problems).map_err(|problems| wrong(problems.trim_end().to_owned()))?;
    let number = number.strip_prefix("sip:").unwrap_or(number);
    if !is_number(number) {
        return Err(wrong(format!(
            "{number:?} is no number; a call through a trunk wants a number: its destinations are in {}",
            file.display()
        )));
    }
    let trunk = config.trunks.iter().find(|trunk| trunk.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
        wrong(format!("{} has no trunk {name}; it has {}", file.display(), names.join(", ")))
    })?;
    if trunk.outgoing.destinations.is_empty() {
        return Err(wrong(format!("trunk {name} of {} has no destinations: no calls go out by it", file.display())));
    }
    let targets = locate_once(&trunk.outgoing.destinations).await;
    let hosts = || trunk.outgoing.destinations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let callee = Callee::through(trunk, &targets, &number.replace('#', "%23"));
    callee.ok_or_else(|| WhyNot::Callee(CalleeError::Host(hosts())))
}

/// Looks whether anybody is there, and leaves out who is not; the first that may be there is called first.
///
/// # Errors
/// Nobody is there at all.
pub(super) async fn reach(local: IpAddr, callee: &mut Callee) -> Result<(), CalleeError> {
    let mut refused = None;
    loop {
        match probe(local, callee).await {
            Ok(()) => return Ok(()),
            Err(error) if callee.ways.others.is_empty() => return Err(refused.unwrap_or(error)),
            Err(error) => {
                println!("{error}; on to the next destination");
                refused.get_or_insert(error);
                let next = callee.ways.others.remove(0);
                (callee.address, callee.uri) = (next.target, next.request_uri);
            }
        }
    }
}
