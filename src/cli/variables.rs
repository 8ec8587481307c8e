//! The variables that begin as those of settings do.

use std::env;

use clap::CommandFactory;

use super::Cli;
use crate::error::{Error, Result};
use crate::{failpoint, safeguard};

/// How the variables of settings begin.
const BEGIN: &str = "AIRSTRIP_";

/// From which likeness on a name is a setting's with a typo. Others can be anything: Kubernetes gives every container
/// `AIRSTRIP_SERVICE_HOST` if a service is called so.
const TYPO: f64 = 0.93;

/// Fails if one of the process's variables is a setting's name with a typo, and logs others that are no setting's.
pub(super) fn check() -> Result<()> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for unknown in check_names(names)? {
        tracing::warn!(variable = unknown, "this variable is no setting");
    }
    Ok(())
}

fn check_names(names: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let command = Cli::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let settings = arguments.filter_map(|argument| argument.get_env()?.to_str());
    let known: Vec<&str> = settings.chain([safeguard::VARIABLE, failpoint::VARIABLE]).collect();
    let mut unknown = Vec::new();
    for name in names.filter(|name| name.starts_with(BEGIN) && !known.contains(&name.as_str())) {
        let likeness = |known: &&str| strsim::jaro_winkler(&known[BEGIN.len()..], &name[BEGIN.len()..]);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        if let Some(nearest) = nearest.filter(|nearest| likeness(nearest) >= TYPO) {
            return Err(Error::invalid(format!("there is no setting {name}; did you mean {nearest}?")));
        }
        unknown.push(name);
    }
    Ok(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str) -> Result<Vec<String>> {
        check_names(std::iter::once(name.to_owned()))
    }

    #[test]
    fn a_typo_is_an_error_that_names_the_setting() {
        for (name, setting) in [
            ("AIRSTRIP_IDLE_TIMOUT", "AIRSTRIP_IDLE_TIMEOUT"),
            ("AIRSTRIP_READONLY", "AIRSTRIP_READ_ONLY"),
            ("AIRSTRIP_MEMORY_LIMITS", "AIRSTRIP_MEMORY_LIMIT"),
            ("AIRSTRIP_LISTN", "AIRSTRIP_LISTEN"),
        ] {
            let error = checked(name).unwrap_err();
            assert_eq!(error.message(), format!("there is no setting {name}; did you mean {setting}?"));
        }
    }

    #[test]
    fn settings_and_what_is_like_none_of_them_are_no_error() {
        for name in ["AIRSTRIP_SERVICE_HOST", "AIRSTRIP_PORT_8815_TCP_ADDR", "AIRSTRIP_BIN", "AIRSTRIP_HOME"]
        {
            assert_eq!(checked(name).unwrap(), [name]);
        }
        for name in ["AIRSTRIP_ROOT", "AIRSTRIP_CONFIG", "AIRSTRIP_LOG", "HOME"] {
            assert!(checked(name).unwrap().is_empty());
        }
    }
}
