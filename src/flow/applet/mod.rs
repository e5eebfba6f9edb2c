//! The applets: what a step of a flow can be. One file each, its name is the wire name (`applet = "voicebot"`).
//!
//! A new applet is one file with an `impl` of [`Applet`], its `mod` line and its entry in the list below.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

pub mod connect;
pub mod hangup;
pub mod voicebot;

/// Says whether a stream URL can be used, and if not, why. It comes from outside: flows do not know what a stream is.
pub type UrlCheck<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// What an applet's file provides.
pub trait Applet: Sized {
    /// The wire name: the file's name.
    const NAME: &'static str;

    /// What the configuration may say. `deny_unknown_fields`; doc comments become the reference configuration.
    type Settings: DeserializeOwned + JsonSchema;

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Every setting that is wrong.
    fn check(settings: Self::Settings, url: UrlCheck<'_>) -> Result<Self, Vec<Wrong>>;

    /// Every transition that is set: its key and the step it names.
    fn transitions(&self) -> Vec<(&'static str, &str)>;

    /// The step that follows after `outcome`; `None` ends the flow.
    fn after(&self, outcome: Outcome) -> Option<&str>;

    /// Whether nothing is left to do once the caller has gone: such a step ends the flow then.
    fn needs_caller(&self) -> bool;
}

/// A setting with a value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The setting.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Wrong {
    /// `message` says what is wrong with `key` and what was expected.
    #[must_use]
    pub fn new(key: &str, message: String) -> Self {
        Self { key: key.to_owned(), message }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should, or because the caller has gone.
    Next,
    /// It failed.
    Error,
    /// A `connect` whose target did not take the call.
    NoAnswer,
    /// A `connect` whose target was not called.
    NotDialed,
}

/// One row of [`APPLETS`].
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The wire name.
    pub name: &'static str,
    /// The settings' schema with their descriptions and defaults: for the reference configuration.
    pub schema: fn() -> Schema,
    /// Reads and checks a step's settings.
    pub read: fn(toml::Table, UrlCheck<'_>) -> Result<StepKind, Vec<Wrong>>,
}

/// Writes the list once: the variants of [`StepKind`], the rows of [`APPLETS`], and what both share.
macro_rules! applets {
    ($($applet:ident in $file:ident,)+) => {
        /// A checked step.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum StepKind {
            $(
                #[doc = concat!("`", stringify!($file), "`")]
                $applet(std::sync::Arc<$file::$applet>),
            )+
        }

        /// Every applet there is.
        pub const APPLETS: &[Entry] = &[$(Entry {
            name: <$file::$applet as Applet>::NAME,
            schema: crate::flow::settings::schema::<$file::$applet>,
            read: |table, url| {
                crate::flow::settings::read::<$file::$applet>(table, url).map(|step| StepKind::$applet(std::sync::Arc::new(step)))
            },
        }),+];

        impl StepKind {
            /// The applet's wire name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$applet(_) => <$file::$applet as Applet>::NAME,)+ }
            }

            /// Every transition that is set: its key and the step it names.
            #[must_use]
            pub fn transitions(&self) -> Vec<(&'static str, &str)> {
                match self { $(Self::$applet(step) => step.transitions(),)+ }
            }

            /// The step that follows after `outcome`; `None` ends the flow.
            #[must_use]
            pub fn after(&self, outcome: Outcome) -> Option<&str> {
                match self { $(Self::$applet(step) => step.after(outcome),)+ }
            }

            /// Whether the step ends the flow when the caller has gone.
            #[must_use]
            pub fn needs_caller(&self) -> bool {
                match self { $(Self::$applet(step) => step.needs_caller(),)+ }
            }
        }
    };
}

applets! {
    Connect in connect,
    Hangup in hangup,
    Voicebot in voicebot,
}

/// The row of an applet by its wire name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Entry> {
    APPLETS.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_this_folder_is_in_the_list_under_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/flow/applet");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the sources are there")
            .filter_map(|entry| entry.expect("readable").file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        let mut names: Vec<_> = APPLETS.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn every_setting_of_every_applet_is_described() {
        for entry in APPLETS {
            let schema = (entry.schema)();
            let properties = schema.get("properties").and_then(|value| value.as_object());
            for (key, property) in properties.into_iter().flatten() {
                assert!(property.get("description").is_some(), "{}: {key} has no doc comment", entry.name);
            }
            assert_eq!(schema.get("additionalProperties"), Some(&false.into()), "{} takes unknown keys", entry.name);
        }
    }
}
