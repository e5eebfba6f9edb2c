//! Call records on their way out: logged, and appended to a file outside the media threads.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::call::summary::Summary;
use crate::call::timeline::CallRecord;
use crate::config::{Log, LogFormat};

/// The log target of call records.
pub const TARGET: &str = "trunkstream::call_record";
/// The field of such a log line that is a record's JSON, where lines are JSON.
pub const FIELD: &str = "record";

/// Writes one JSON object a line, and logs each record as the log's format has it.
pub struct RecordWriter {
    format: LogFormat,
    file: Option<(PathBuf, File)>,
    failing: bool,
}

impl RecordWriter {
    /// Starts the writer; the file is `log.call_records`.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub async fn start(log: &Log) -> anyhow::Result<(mpsc::UnboundedSender<CallRecord>, JoinHandle<()>)> {
        let file = match &log.call_records {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path).await;
                Some((path.clone(), file.with_context(|| format!("log.call_records {}", path.display()))?))
            }
            None => None,
        };
        let (sender, mut records) = mpsc::unbounded_channel::<CallRecord>();
        let mut writer = Self { format: log.format, file, failing: false };
        let task = tokio::spawn(async move {
            while let Some(record) = records.recv().await {
                writer.write(&record).await;
            }
        });
        Ok((sender, task))
    }

    async fn write(&mut self, record: &CallRecord) {
        let line = match serde_json::to_string(record) {
            Ok(line) => line,
            Err(error) => {
                return error!(%error, call_sid = record.call_sid, "a call record could not be written as JSON");
            }
        };
        if let Some((path, file)) = &mut self.file {
            match append(file, &line).await {
                Ok(()) => self.failing = false,
                Err(error) if !self.failing => {
                    self.failing = true;
                    error!(path = %path.display(), %error, "call records cannot be written; they are still logged");
                }
                Err(_) => {}
            }
        }
        match self.format {
            LogFormat::Json => info!(target: TARGET, record = line, "call record"),
            LogFormat::Text => {
                let CallRecord { call_sid, trunk, .. } = record;
                info!(target: TARGET, %call_sid, %trunk, "call record: {}", Summary(record));
            }
        }
    }
}

async fn append(file: &mut File, line: &str) -> io::Result<()> {
    file.write_all(format!("{line}\n").as_bytes()).await?;
    file.flush().await
}
