//! The log, on standard error: standard output belongs to the startup line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::error::{Error, Result, is_contained};

/// Starts logging what `filter` lets through.
pub(super) fn init(format: LogFormat, filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::invalid(format!("the log filter {filter:?} is wrong: {error}")))?;
    // A log that cannot be written, to a full disk say, ends no request: the library would print that, and panic in turn.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Error::internal(format!("cannot start the log: {error}")))?;
    log_panics();
    Ok(())
}

/// Panics go to the log, with the span of the request that they belong to.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if !is_contained() {
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(%panic, %backtrace, "a bug: panic");
        }
    }));
}
