//! The command line.
//!
//! Exit codes: 0 the command did its work (a server: it was asked to stop and did), 1 it failed, 2 the
//! arguments or settings are wrong, 130 a second signal forced the server to stop.

#[cfg(feature = "demo")]
mod demo;
mod root;
mod serve;
mod telemetry;
mod variables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Settings;
use crate::error::{ErrorKind, Result};

/// A SQL-queryable Arrow Flight store: serves a directory of Parquet files
#[derive(Debug, Parser)]
#[command(name = "airstrip", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a directory of Parquet files over Arrow Flight
    ///
    /// Every setting can also come from an AIRSTRIP_* variable, or from the TOML file that --config
    /// names, under its name without the dashes. Flags beat variables, variables beat the file. Sizes
    /// are written as 64MiB or 1GB, times as 90s or 5m.
    Serve {
        #[command(flatten)]
        settings: Box<Settings>,

        /// A TOML file with settings
        #[arg(long, env = "AIRSTRIP_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },

    /// Write the TPC-H tables as datasets, to have something to query; others of their names are left alone
    #[cfg(feature = "demo")]
    Demo {
        /// The scale factor: 1 is about 350 MB of Parquet, lineitem has 6 million rows
        #[arg(long, default_value_t = 0.1, value_parser = demo::scale)]
        scale: f64,

        /// The directory to write to, created if it is missing
        #[arg(default_value = "datasets", env = "AIRSTRIP_ROOT")]
        root: PathBuf,
    },
}

/// Runs the command line of this process. `give_back` returns memory to the system that the allocator keeps.
pub fn main(give_back: fn()) -> ExitCode {
    match run(Cli::parse().command, give_back) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("airstrip: {error}");
            let usage = error.kind() == ErrorKind::InvalidArgument;
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn run(command: Command, give_back: fn()) -> Result<ExitCode> {
    match command {
        Command::Serve { settings, config } => serve::serve(*settings, config.as_deref(), give_back),
        #[cfg(feature = "demo")]
        Command::Demo { scale, root } => demo::demo(scale, &root).map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
