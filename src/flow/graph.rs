//! From the flows of the configuration to graphs that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::Schema;

use crate::config;

use super::applet::{self, APPLETS, StepKind, UrlCheck, Wrong};

/// Every flow there is, checked. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Flows(Arc<BTreeMap<String, Arc<Graph>>>);

impl Flows {
    /// The flow with this id.
    #[must_use]
    pub fn flow(&self, id: &str) -> Option<Arc<Graph>> {
        self.0.get(id).cloned()
    }

    /// All flows by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Graph>> {
        self.0.values()
    }
}

/// One flow: its steps by name. The start and every transition name a step that exists.
#[derive(Debug, PartialEq, Eq)]
pub struct Graph {
    id: String,
    start: String,
    steps: BTreeMap<String, StepKind>,
}

impl Graph {
    /// The flow's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the first step.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepKind> {
        self.steps.get(name)
    }

    /// All steps by name.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &StepKind)> {
        self.steps.iter().map(|(name, kind)| (name.as_str(), kind))
    }
}

/// What the reference configuration says about one applet.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The wire name: `applet = "voicebot"`.
    pub applet: &'static str,
    /// Its settings: descriptions, defaults, which are required.
    pub schema: Schema,
}

/// Every applet with its settings, for the reference configuration.
#[must_use]
pub fn reference() -> Vec<Reference> {
    APPLETS.iter().map(|entry| Reference { applet: entry.name, schema: (entry.schema)() }).collect()
}

/// Checks every flow as a whole. `url` says whether a stream URL can be used, and if not, why.
///
/// # Errors
/// Everything that is wrong, with file, line and key: unknown applet, setting or value, a start or transition that
/// names no step, a step that leads to itself, a step that nothing leads to.
pub fn check(flows: &[config::Flow], url: UrlCheck<'_>) -> Result<Flows, Vec<config::Problem>> {
    let mut problems = Vec::new();
    let mut graphs = BTreeMap::new();
    for flow in flows {
        match check_flow(flow, url) {
            Ok(graph) => {
                graphs.insert(flow.id.clone(), Arc::new(graph));
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(Flows(Arc::new(graphs))) } else { Err(problems) }
}

fn check_flow(flow: &config::Flow, url: UrlCheck<'_>) -> Result<Graph, Vec<config::Problem>> {
    let mut problems = Vec::new();
    let mut steps = BTreeMap::new();
    for step in &flow.steps {
        match read(step, url) {
            Ok(kind) => {
                steps.insert(step.name.clone(), kind);
            }
            Err(wrong) => problems.extend(wrong.iter().map(|wrong| problem(flow, step, wrong))),
        }
    }
    let every_step_read = problems.is_empty();
    problems.extend(start_problem(flow));
    for step in &flow.steps {
        let kind = steps.get(&step.name);
        let wrong = kind.into_iter().flat_map(|kind| wrong_transitions(flow, step, kind));
        problems.extend(wrong.map(|wrong| problem(flow, step, &wrong)));
    }
    if every_step_read && start_problem(flow).is_none() {
        problems.extend(unreachable(flow, &steps));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Graph { id: flow.id.clone(), start: flow.start.clone(), steps })
}

fn read(step: &config::Step, url: UrlCheck<'_>) -> Result<StepKind, Vec<Wrong>> {
    match applet::named(&step.applet) {
        Some(entry) => (entry.read)(step.settings.clone(), url),
        None => {
            let message = format!("there is no applet `{}`; expected one of {}", step.applet, applet_names());
            Err(vec![Wrong::new("applet", message)])
        }
    }
}

fn applet_names() -> String {
    APPLETS.iter().map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(", ")
}

fn start_problem(flow: &config::Flow) -> Option<config::Problem> {
    if flow.steps.iter().any(|step| step.name == flow.start) {
        return None;
    }
    Some(config::Problem {
        place: flow.place.clone(),
        key: format!("flow.{}.start", flow.id),
        message: format!("there is no step `{}`; expected {}", flow.start, step_names(flow)),
    })
}

fn step_names(flow: &config::Flow) -> String {
    match flow.steps.iter().map(|step| format!("`{}`", step.name)).collect::<Vec<_>>() {
        names if names.is_empty() => format!("at least one [flow.step.NAME] table in flow `{}`", flow.id),
        names => format!("one of {}", names.join(", ")),
    }
}

fn wrong_transitions(flow: &config::Flow, step: &config::Step, kind: &StepKind) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (key, target) in kind.transitions() {
        if target == step.name {
            wrong.push(Wrong::new(key, format!("leads from step `{target}` to itself; expected another step or none")));
        } else if flow.steps.iter().all(|other| other.name != target) {
            wrong.push(Wrong::new(key, format!("there is no step `{target}`; expected {}", step_names(flow))));
        }
    }
    wrong
}

/// The steps that no way leads to.
fn unreachable(flow: &config::Flow, steps: &BTreeMap<String, StepKind>) -> Vec<config::Problem> {
    let mut reached = BTreeSet::new();
    let mut ways = vec![flow.start.as_str()];
    while let Some(name) = ways.pop() {
        if let Some(kind) = steps.get(name).filter(|_| reached.insert(name)) {
            ways.extend(kind.transitions().into_iter().map(|(_, target)| target));
        }
    }
    let lost = flow.steps.iter().filter(|step| !reached.contains(step.name.as_str()));
    let message =
        format!("nothing leads to this step; expected a transition to it, or `start = \"…\"` of flow `{}`", flow.id);
    lost.map(|step| problem(flow, step, &Wrong::new("", message.clone()))).collect()
}

/// `wrong` with its place: the setting's line where it has one, else the step's.
fn problem(flow: &config::Flow, step: &config::Step, wrong: &Wrong) -> config::Problem {
    let line = step.lines.get(&wrong.key).copied().unwrap_or(step.place.line);
    let dot = if wrong.key.is_empty() { "" } else { "." };
    config::Problem {
        place: config::Place { file: step.place.file.clone(), line },
        key: format!("flow.{}.step.{}{dot}{}", flow.id, step.name, wrong.key),
        message: wrong.message.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests;
