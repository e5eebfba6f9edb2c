//! Walks one call through a flow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::applet::{Outcome, StepKind};
use super::graph::Graph;

/// A flow may go in circles; this many steps of one call are no flow any more.
const STEPS_AT_MOST: usize = 1000;

/// What the call does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run this step, then say how it ended with [`Engine::finished`].
    Run {
        /// The step's name.
        name: String,
        /// What it does.
        kind: StepKind,
    },
    /// The flow has ended.
    End,
}

/// One call's way through its flow.
///
/// The flow always goes on: a step that failed is followed by the next one, and after the caller has gone the rest is
/// walked too, each step at most once, so that every step hears how the one before it ended.
#[derive(Debug)]
pub struct Engine {
    graph: Arc<Graph>,
    place: Place,
    caller_gone: bool,
    /// Steps run since the caller went, the one that ran then included.
    seen: BTreeSet<String>,
    steps: usize,
}

#[derive(Debug)]
enum Place {
    Before,
    At(String),
    Ended,
}

impl Engine {
    /// At the entry of `graph`.
    #[must_use]
    pub fn new(graph: Arc<Graph>) -> Self {
        Self { graph, place: Place::Before, caller_gone: false, seen: BTreeSet::new(), steps: 0 }
    }

    /// Enters the first step. A flow is entered once: afterwards this ends it.
    pub fn start(&mut self) -> Step {
        let first = matches!(self.place, Place::Before).then(|| self.graph.start().to_owned());
        self.enter(first)
    }

    /// The running step ended like this; what follows it is entered.
    pub fn finished(&mut self, outcome: Outcome) -> Step {
        let next = match &self.place {
            Place::At(name) => self.graph.step(name).and_then(|kind| kind.after(outcome)).map(str::to_owned),
            Place::Before | Place::Ended => None,
        };
        self.enter(next)
    }

    /// The caller has gone. The running step still ends through [`Engine::finished`].
    pub fn caller_gone(&mut self) {
        self.caller_gone = true;
        if let Place::At(name) = &self.place {
            self.seen.insert(name.clone());
        }
    }

    /// The name of the running step.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        match &self.place {
            Place::At(name) => Some(name),
            Place::Before | Place::Ended => None,
        }
    }

    fn enter(&mut self, next: Option<String>) -> Step {
        match next.and_then(|name| self.allowed(name)) {
            Some((name, kind)) => {
                self.steps += 1;
                self.place = Place::At(name.clone());
                Step::Run { name, kind }
            }
            None => {
                self.place = Place::Ended;
                Step::End
            }
        }
    }

    /// The step of that name, if the flow may go there.
    fn allowed(&mut self, name: String) -> Option<(String, StepKind)> {
        let kind = self.graph.step(&name)?.clone();
        let ends = self.caller_gone && (kind.needs_caller() || !self.seen.insert(name.clone()));
        (!ends && self.steps < STEPS_AT_MOST).then_some((name, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::graph;
    use super::*;

    fn bot(name: &str, transitions: &str) -> String {
        format!("[step.{name}]\napplet = \"voicebot\"\nurl = \"ws://a\"\n{transitions}\n")
    }

    fn engine(start: &str, steps: &[String]) -> Engine {
        Engine::new(graph(start, &steps.concat()))
    }

    fn name(step: Step) -> String {
        match step {
            Step::Run { name, .. } => name,
            Step::End => "end".to_owned(),
        }
    }

    #[test]
    fn a_failed_bot_never_ends_the_flow() {
        let steps = [bot("first", "next = \"second\""), bot("second", "on_error = \"first\"")];
        let mut engine = engine("first", &steps);
        assert_eq!(name(engine.start()), "first");
        assert_eq!(name(engine.finished(Outcome::Error)), "second");
        assert_eq!(name(engine.finished(Outcome::Error)), "first");
        assert_eq!(name(engine.finished(Outcome::Next)), "second");
        assert_eq!(engine.current(), Some("second"));
        assert_eq!(engine.finished(Outcome::Next), Step::End);
        assert_eq!(engine.finished(Outcome::Next), Step::End);
        assert_eq!(engine.start(), Step::End);
    }

    #[test]
    fn after_the_caller_has_gone_each_step_runs_at_most_once() {
        let steps = [bot("a", "next = \"b\""), bot("b", "next = \"c\""), bot("c", "next = \"a\"")];
        let mut engine = engine("a", &steps);
        engine.start();
        engine.finished(Outcome::Next);
        engine.caller_gone();
        assert_eq!(name(engine.finished(Outcome::Next)), "c");
        assert_eq!(name(engine.finished(Outcome::Next)), "a", "it ran before the caller went, not since");
        assert_eq!(engine.finished(Outcome::Next), Step::End, "b ran when the caller went");
    }

    #[test]
    fn after_the_caller_has_gone_a_hangup_ends_the_flow() {
        let steps = [bot("a", "next = \"bye\""), "[step.bye]\napplet = \"hangup\"\n".to_owned()];
        let mut gone = engine("a", &steps);
        gone.start();
        gone.caller_gone();
        assert_eq!(gone.finished(Outcome::Next), Step::End);
        let mut there = engine("a", &steps);
        there.start();
        assert_eq!(name(there.finished(Outcome::Next)), "bye");
        assert_eq!(there.finished(Outcome::Next), Step::End);
    }

    #[test]
    fn a_caller_who_goes_before_the_first_step_still_walks_the_flow() {
        let mut engine = engine("a", &[bot("a", "next = \"b\""), bot("b", "next = \"a\"")]);
        engine.caller_gone();
        assert_eq!(name(engine.start()), "a");
        assert_eq!(name(engine.finished(Outcome::Next)), "b");
        assert_eq!(engine.finished(Outcome::Next), Step::End);
    }

    #[test]
    fn a_flow_that_runs_in_circles_ends_some_day() {
        let mut engine = engine("a", &[bot("a", "next = \"b\""), bot("b", "next = \"a\"")]);
        let mut step = engine.start();
        let mut count = 0;
        while step != Step::End {
            count += 1;
            step = engine.finished(Outcome::Error);
        }
        assert_eq!(count, STEPS_AT_MOST);
    }
}
