//! The log, on standard error.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use doorward::app::LogWriter;
use doorward::config::{LogConfig, LogFormat, one_line};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The number of log lines that may wait to be written; more of them are dropped.
const LOG_LINES: usize = 10_000;

/// Keeps the log's writer running; when it is dropped, the last lines are written.
type LogGuard = Arc<Mutex<Option<WorkerGuard>>>;

/// Starts the log, which runs until the guard is dropped. It never delays or fails a request: when
/// its reader stalls, its pipe breaks or its disk is full, lines are dropped.
pub(super) fn start_log(log: &LogConfig) -> Result<(LogGuard, LogWriter), Box<dyn Error>> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        // Queued lines are written together: the writer flushes when the queue is empty.
        .finish(OneLinePerEvent(BufWriter::new(io::stderr())));
    let lost = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.level)?)
        .with_ansi(false)
        // It reports its own failures by `eprintln!`, which panics exactly when they matter.
        .log_internal_errors(false)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => {
            // There is one span, the request's; the list of all spans would repeat it.
            builder.json().flatten_event(true).with_span_list(false).try_init()
        }
    }
    .map_err(|error| error as Box<dyn Error>)?;
    let guard = Arc::new(Mutex::new(Some(guard)));
    let own = Arc::clone(&guard);
    let flush = Arc::new(move || drop(own.lock().unwrap_or_else(PoisonError::into_inner).take()));
    let dropped_lines = Arc::new(move || lost.dropped_lines());
    Ok((guard, LogWriter { dropped_lines, flush }))
}

/// Keeps each event on its own line: the subscriber writes an event at once, and escapes neither
/// line breaks nor, in JSON, the C1 controls.
pub(super) struct OneLinePerEvent<W>(pub(super) W);

impl<W: Write> Write for OneLinePerEvent<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.write_all(one_line(text.trim_end_matches('\n')).as_bytes())?;
        self.0.write_all(b"\n")?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
